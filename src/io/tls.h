/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tls.h - what Sofia forgets of a TLS connection: the SSL object of each connection it ever made (80 KB; Debian 12's, 1.12.11+20110422.1+1e14eea), also of those
 * that were refused. A presence server that can't be reached is probed every 2 s. So they are found, and freed once their socket is closed.
 *
 * OpenSSL tells of each object that is made and freed (ex_data). Sofia's are known by their context. By the time it closes the socket it has let go of the object: it
 * has given back one reference of the BIO too many, and one of the context, which are made good. Should it free them one day, there is nothing left to do.
 * (The names in a server's certificate, some 200 bytes of each connection, can't be found.)
 */
#ifndef PX_TLS_H
#define PX_TLS_H

#include <stdbool.h>

/* Around the making of Sofia's sockets: contexts that are made meanwhile are Sofia's. False: OpenSSL can't do that. */
bool px_tls_begin(void);
void px_tls_end(void);

/* Frees what is left over, and gets to know what is new: after everything that may have made a connection. */
void px_tls_sweep(void);

#endif

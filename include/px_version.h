/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PX_VERSION_H
#define PX_VERSION_H

#define PX_VERSION "0.1.0"

#endif

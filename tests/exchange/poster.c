/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "poster.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#include "grammar.h"
#include "push.h"

struct post {
	struct source source; /* first */
	struct poster *poster;
	int fd;
	unsigned cas;
	char id[SUBSCRIPTION_ID];
	struct buf out, in;
	int64_t late_ms;
	struct post *prev, *next;
};

struct poster {
	struct loop *loop;
	struct subs *subs;
	struct post *posts;
	unsigned n;
};

/* --- the answer --- */
static bool answer_of(const char *body, size_t len, enum push_answer *out)
{
	struct violation v;
	xmlDoc *doc = grammar_parse(body, len, &v);
	const xmlNode *root = doc ? xmlDocGetRootElement(doc) : NULL;
	const xmlNode *soap = xml_child(root, "Body"), *result = xml_first(soap);
	char *status = xml_text(xml_child(result, "SubscriptionStatus"));
	bool good = xml_is(root, NS_SOAP, "Envelope") && xml_is(soap, NS_SOAP, "Body") &&
	            xml_is(result, NS_MESSAGES, "SendNotificationResult");

	if (good && strcmp(status, "OK") == 0)
		*out = PUSH_OK;
	else if (good && strcmp(status, "Unsubscribe") == 0)
		*out = PUSH_UNSUBSCRIBE;
	else
		good = false;
	free(status);
	xmlFreeDoc(doc);
	return good;
}

bool poster_read(const char *answer, size_t len, bool closed, enum push_answer *out)
{
	const char *end = len ? memmem(answer, len, "\r\n\r\n", 4) : NULL;
	const char *length = NULL;
	size_t head, body;

	*out = PUSH_FAILED;
	if (!end)
		return closed;
	head = (size_t)(end - answer) + 4;
	body = len - head;
	for (const char *p = answer; p < end; p++)
		if (strncasecmp(p, "\r\nContent-Length:", 17) == 0)
			length = p + 17;
	if (length && body < strtoul(length, NULL, 10))
		return closed;
	if (!length && !closed)
		return false;
	if (len > 12 && strncmp(answer, "HTTP/1.", 7) == 0 && strncmp(answer + 8, " 200", 4) == 0)
		answer_of(answer + head, length ? strtoul(length, NULL, 10) : body, out);
	return true;
}

/* --- one notification --- */
static void over(struct post *post, enum push_answer answer)
{
	struct poster *p = post->poster;
	unsigned cas = post->cas;
	char id[SUBSCRIPTION_ID];

	memcpy(id, post->id, sizeof id);
	if (post->fd >= 0) {
		loop_unwatch(p->loop, post->fd);
		close(post->fd);
	}
	DL_DELETE(p->posts, post);
	p->n--;
	buf_free(&post->out);
	buf_free(&post->in);
	free(post);
	subs_pushed(p->subs, cas, id, answer, p->loop->now_ms);
}

static void receive(struct post *post)
{
	enum push_answer answer;
	char chunk[4096];
	ssize_t n;

	while ((n = recv(post->fd, chunk, sizeof chunk, 0)) > 0 && post->in.len < POST_ANSWER_MAX)
		buf_add(&post->in, chunk, (size_t)n);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		if (poster_read(post->in.p, post->in.len, false, &answer))
			over(post, answer);
		return;
	}
	if (n != 0 || !poster_read(post->in.p, post->in.len, true, &answer))
		answer = PUSH_FAILED; /* reset, or far too long */
	over(post, answer);
}

static void ready(struct source *s, uint32_t events)
{
	struct post *post = (struct post *)s;
	ssize_t n;

	(void)events;
	if (post->out.len) {
		n = send(post->fd, post->out.p, post->out.len, MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			over(post, PUSH_FAILED);
			return;
		}
		if (n > 0)
			buf_drop(&post->out, (size_t)n);
		if (!post->out.len) {
			loop_unwatch(post->poster->loop, post->fd);
			loop_watch(post->poster->loop, post->fd, EPOLLIN | EPOLLRDHUP, s);
		}
		return;
	}
	receive(post);
}

/* A connection under way to the host of an URL, an address or localhost; -1: there is none. */
static int dialled(const char *url)
{
	const struct addrinfo want = {.ai_family = AF_UNSPEC,
	                              .ai_socktype = SOCK_STREAM,
	                              .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
	struct addrinfo *found = NULL;
	char host[256], *name = host, *colon;
	const char *port = "80";
	size_t n = strcspn(url + 7, "/");
	int fd = -1;

	memcpy(host, url + 7, n);
	host[n] = '\0';
	colon = strrchr(host, ':');
	if (colon && !strchr(colon, ']')) {
		*colon = '\0';
		port = colon + 1;
	}
	if (*name == '[' && name[strlen(name) - 1] == ']') {
		name[strlen(name) - 1] = '\0';
		name++;
	}
	if (strcasecmp(name, "localhost") == 0)
		strcpy(name, "127.0.0.1");
	if (getaddrinfo(name, port, &want, &found) != 0)
		return -1;
	fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && connect(fd, found->ai_addr, found->ai_addrlen) < 0 && errno != EINPROGRESS) {
		close(fd);
		fd = -1;
	}
	freeaddrinfo(found);
	return fd;
}

static bool post(void *arg, const struct subscription *sub, const char *body, size_t len)
{
	struct poster *p = arg;
	const char *url = sub->push->url, *path = strchr(url + 7, '/');
	struct post *post;

	if (p->n >= POSTS_MAX)
		return false;
	post = xcalloc(1, sizeof *post);
	*post = (struct post){.source.ready = ready,
	                      .poster = p,
	                      .fd = dialled(url),
	                      .cas = sub->cas,
	                      .late_ms = p->loop->now_ms + POST_ANSWER_MS};
	memcpy(post->id, sub->id, sizeof post->id);
	buf_fmt(&post->out,
	        "POST %s HTTP/1.1\r\nHost: %.*s\r\nUser-Agent: Microsoft Exchange\r\n"
	        "Content-Type: text/xml; charset=utf-8\r\nSOAPAction: \"" NS_MESSAGES
	        "/SendNotification\"\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n",
	        path ? path : "/", (int)strcspn(url + 7, "/"), url + 7, len);
	buf_add(&post->out, body, len);
	DL_APPEND(p->posts, post);
	p->n++;
	if (post->fd < 0) /* told in the next tick: the caller isn't ready for an answer */
		post->late_ms = p->loop->now_ms;
	else
		loop_watch(p->loop, post->fd, EPOLLOUT, &post->source);
	return true;
}

int64_t poster_tick(struct poster *p)
{
	int64_t due = INT64_MAX;
	struct post *one, *tmp;

	for (one = p->posts; one; one = tmp) {
		const int64_t late_ms = one->late_ms;

		tmp = one->next;
		if (p->loop->now_ms >= late_ms)
			over(one, PUSH_FAILED);
		if (p->loop->now_ms >= late_ms)
			due = p->loop->now_ms; /* its subscription may have more to say */
		else if (late_ms < due)
			due = late_ms;
	}
	return due;
}

struct poster *poster_new(struct loop *loop, struct subs *subs)
{
	struct poster *p = xcalloc(1, sizeof *p);

	p->loop = loop;
	p->subs = subs;
	subs_on_push(subs, post, p);
	return p;
}

void poster_free(struct poster *p)
{
	while (p->posts)
		over(p->posts, PUSH_FAILED);
	free(p);
}

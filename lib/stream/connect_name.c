/* SPDX-License-Identifier: MIT */
/* Connecting by name: a lookup, then a connect to one of what it found.  The socket is
 * connect.c's. */
#include "resolve.h"

#include <stdlib.h>
#include <unring.h>

static struct unr_connect_name *connect_of(struct unr_compose *self)
{
    return unr_container_of(self, struct unr_connect_name, private_fields.compose);
}

static void look_up(struct unr_connect_name_private *p)
{
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
    unr_compose_next(&p->compose, unr_resolve(&p->resolve, p->host, p->service, &hints));
}

static void connect_to_found(struct unr_connect_name_private *p)
{
    unsigned n = 0;
    p->addresses = calloc((size_t)p->resolve.op.result.value, sizeof *p->addresses);
    if (!p->addresses) {
        unr_resolve_free(&p->resolve);
        unr_compose_end(&p->compose, -ENOMEM);
        return;
    }
    for (const struct addrinfo *each = p->resolve.addresses; each; each = each->ai_next)
        p->addresses[n++] = (struct unr_address){ each->ai_addr, each->ai_addrlen };
    unr_compose_next(&p->compose, unr_connect_any(&p->connect, p->addresses, n));
}

static void end(struct unr_connect_name *connect, const struct unr_result *connected)
{
    struct unr_connect_name_private *p = &connect->private_fields;
    free(p->addresses);
    unr_resolve_free(&p->resolve);
    connect->op.result.fd = connected->fd;
    connect->op.result.value = connected->value;
    unr_compose_end(&p->compose, connected->error);
}

static void step(struct unr_compose *self, struct unr_op *finished)
{
    struct unr_connect_name         *connect = connect_of(self);
    struct unr_connect_name_private *p = &connect->private_fields;
    if (!finished)
        look_up(p);
    else if (finished == &p->connect.op)
        end(connect, &finished->result);
    else if (finished->result.error)
        unr_compose_end(self, finished->result.error);
    else
        connect_to_found(p);
}

/* Only a lookup that has failed has more words than its errno. */
static const char *explain(const struct unr_op *ended)
{
    const struct unr_resolve *resolve =
        &((const struct unr_connect_name *)ended)->private_fields.resolve;
    return resolve->op.result.error == ended->result.error ? unri_lookup_words(resolve) : NULL;
}

struct unr_op *unr_connect_name(struct unr_connect_name *connect, const char *host,
                                const char *service)
{
    struct unr_connect_name_private *p = &connect->private_fields;
    struct unr_op *op = unr_compose(&p->compose, "connect_name", UNR_CANCEL_PARTIAL, step);
    p->compose.private_fields.explain = explain;
    p->host = host;
    p->service = service;
    return op;
}

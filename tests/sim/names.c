/* SPDX-License-Identifier: MIT */
/* Names and their addresses, as the simulated kernel's network has them. */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "../../lib/core/os.h"
#include "sim.h"

enum { HOSTS = 16 };

static struct host {
    const char *name, *address;
} hosts[HOSTS];

static unsigned hosts_count, found_count;

void sim_names_reset(void)
{
    hosts_count = found_count = 0;
}

unsigned sim_names_found(void)
{
    return found_count;
}

void unr_sim_host(const char *name, const char *address)
{
    if (hosts_count == HOSTS)
        unri_sim_fail("the scenario has more names than the simulation");
    hosts[hosts_count++] = (struct host){ name, address };
}

/* One that is found.  Its address lies behind it. */
struct found {
    struct addrinfo         info;
    struct sockaddr_storage address;
};

static bool set_address(struct found *found, const char *number, uint16_t port)
{
    struct sockaddr_in  *in = (struct sockaddr_in *)&found->address;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&found->address;
    if (inet_pton(AF_INET, number, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = htons(port);
        found->info.ai_addrlen = sizeof *in;
    } else if (inet_pton(AF_INET6, number, &in6->sin6_addr) == 1) {
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(port);
        found->info.ai_addrlen = sizeof *in6;
    } else {
        return false;
    }
    found->info.ai_family = found->address.ss_family;
    found->info.ai_addr = (struct sockaddr *)&found->address;
    return true;
}

/* Appends an address, if `number` is one, and one that is looked for. */
static void append(struct addrinfo **list, const char *number, uint16_t port,
                   const struct addrinfo *hints)
{
    struct found *found = calloc(1, sizeof *found);
    if (!found)
        abort();
    if (!set_address(found, number, port)
        || (hints && hints->ai_family && hints->ai_family != found->info.ai_family)) {
        free(found);
        return;
    }
    found->info.ai_socktype = hints ? hints->ai_socktype : 0;
    found->info.ai_protocol = hints ? hints->ai_protocol : 0;
    while (*list)
        list = &(*list)->ai_next;
    *list = &found->info;
    found_count++;
}

int unri_os_lookup(const char *host, const char *service, const struct addrinfo *hints,
                   struct addrinfo **ret_found)
{
    char         *end = NULL;
    unsigned long port = service ? strtoul(service, &end, 10) : 0;
    bool          is_number = hints && hints->ai_flags & AI_NUMERICHOST;
    if ((end && *end) || port > UINT16_MAX)
        return EAI_SERVICE;
    *ret_found = NULL;
    append(ret_found, host ? host : "127.0.0.1", (uint16_t)port, hints);
    if (!*ret_found && host && !is_number) {
        if (sim_kernel_lacks_memory())
            return EAI_MEMORY;
        for (unsigned i = 0; i < hosts_count; i++)
            if (strcmp(hosts[i].name, host) == 0)
                append(ret_found, hosts[i].address, (uint16_t)port, hints);
    }
    return *ret_found ? 0 : EAI_NONAME;
}

void unri_os_lookup_free(struct addrinfo *found)
{
    while (found) {
        struct addrinfo *next = found->ai_next;
        free(unr_container_of(found, struct found, info));
        found_count--;
        found = next;
    }
}

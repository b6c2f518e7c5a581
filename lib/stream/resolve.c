/* SPDX-License-Identifier: MIT */
/* Looking up names.  What the thread works on is a lookup, with copies of its own: the operation
 * does not wait for the thread when it is cancelled, and whoever of the two is last frees it. */
#include "resolve.h"
#include "../core/fiber_running.h"
#include "../core/op.h"
#include "../core/os.h"
#include "../core/type.h"
#include "../loop/thread_pool.h"

#include <netdb.h>
#include <stdlib.h>
#include <string.h>

struct unr_lookup {
    struct unr_job             job;
    struct unr_resolve        *resolve; /* the loop's thread's */
    struct unr_resolve_private of;      /* copies of the names and hints */
    struct addrinfo           *found;
    int                        eai, system_error;
};

/* ---- on its thread, and where it is known at once on the loop's ---- */

static const char *name_in(const char *name, bool there_is_one)
{
    return there_is_one ? name : NULL;
}

static int look_up(const struct unr_resolve_private *of, int more_flags,
                   struct addrinfo **ret_found)
{
    const struct addrinfo hints = { .ai_flags = of->flags | more_flags,
                                    .ai_family = of->family,
                                    .ai_socktype = of->socktype,
                                    .ai_protocol = of->protocol };
    *ret_found = NULL;
    return unri_os_lookup(name_in(of->host, of->has_host), name_in(of->service, of->has_service),
                          of->has_hints || more_flags ? &hints : NULL, ret_found);
}

static struct unr_lookup *lookup_of(struct unr_job *job)
{
    return unr_container_of(job, struct unr_lookup, job);
}

static void run(struct unr_job *job)
{
    struct unr_lookup *lookup = lookup_of(job);
    lookup->eai = look_up(&lookup->of, 0, &lookup->found);
    lookup->system_error = errno;
}

static void orphaned(struct unr_job *job)
{
    struct unr_lookup *lookup = lookup_of(job);
    if (lookup->found)
        unri_os_lookup_free(lookup->found);
    free(lookup);
}

/* ---- on the loop's ---- */

/* -ECANCELED is for what was cancelled. */
static int error_of(int eai, int system_error)
{
    switch (eai) {
    case 0: return 0;
    case EAI_NONAME:
#ifdef EAI_NODATA
    case EAI_NODATA:
#endif
#ifdef EAI_ADDRFAMILY
    case EAI_ADDRFAMILY:
#endif
        return -ENOENT;
    case EAI_AGAIN: return -EAGAIN;
    case EAI_MEMORY: return -ENOMEM;
    case EAI_BADFLAGS:
    case EAI_FAMILY:
    case EAI_SOCKTYPE:
    case EAI_SERVICE: return -EINVAL;
    case EAI_SYSTEM: return system_error > 0 && system_error != ECANCELED ? -system_error : -EIO;
    default: return -EIO;
    }
}

static struct unr_resolve *resolve_of(struct unr_op *op)
{
    return unr_container_of(op, struct unr_resolve, op);
}

static void end(struct unr_resolve *resolve, int eai, int system_error, struct addrinfo *found)
{
    resolve->private_fields.eai = eai;
    if (eai == 0)
        resolve->addresses = found;
    for (const struct addrinfo *each = resolve->addresses; each; each = each->ai_next)
        resolve->op.result.value++;
    unri_end(&resolve->op, error_of(eai, system_error));
}

static void returned(struct unr_task *task)
{
    struct unr_lookup *lookup = lookup_of(unr_container_of(task, struct unr_job, task));
    unri_job_arrived();
    end(lookup->resolve, lookup->eai, lookup->system_error, lookup->found);
    free(lookup);
}

static void start_lookup(struct unr_resolve *resolve)
{
    struct unr_lookup *lookup = calloc(1, sizeof *lookup);
    unri_set_op_state(&resolve->op, UNRI_IN_FLIGHT);
    if (!lookup) {
        end(resolve, EAI_MEMORY, 0, NULL);
        return;
    }
    lookup->resolve = resolve;
    lookup->of = resolve->private_fields;
    lookup->job.task.run = returned;
    lookup->job.loop = resolve->op.private_fields.loop;
    lookup->job.run = run;
    lookup->job.orphaned = orphaned;
    resolve->private_fields.lookup = lookup;
    if (unri_job_start(UNRI_RESOLVERS, &lookup->job) < 0) {
        free(lookup);
        unri_private(&resolve->op)->flags |= UNRI_NO_WORKER;
        end(resolve, EAI_AGAIN, 0, NULL);
    }
}

/* Numbers need no name server, and where the caller says that they are some, none is asked. */
static void resolve_start(struct unr_op *op)
{
    struct unr_resolve *resolve = resolve_of(op);
    const int           numeric = AI_NUMERICHOST | AI_NUMERICSERV;
    struct addrinfo    *found;
    if (resolve->private_fields.is_too_long) {
        end(resolve, EAI_NONAME, 0, NULL);
        return;
    }
    int eai = look_up(&resolve->private_fields, numeric, &found);
    if (eai == 0 || (resolve->private_fields.flags & numeric) == numeric)
        end(resolve, eai, errno, found);
    else
        start_lookup(resolve);
}

/* What has returned is on its way, and the request is too late. */
static void resolve_cancel(struct unr_op *op, struct unr_cancel_request request)
{
    struct unr_lookup *lookup = resolve_of(op)->private_fields.lookup;
    switch (unri_job_cancel(UNRI_RESOLVERS, &lookup->job, UNRI_JOB_ABANDON)) {
    case UNRI_JOB_WAITS:
        free(lookup);
        unri_end_unsubmitted(op, request);
        break;
    case UNRI_JOB_RUNS: unri_end(op, -ECANCELED); break;
    default: break;
    }
}

/* EAI_SYSTEM says no more than its errno. */
const char *unri_lookup_words(const struct unr_resolve *failed)
{
    if (failed->op.private_fields.flags & UNRI_NO_WORKER)
        return "no thread could be made to look its name up (RLIMIT_NPROC, or pids.max of a "
               "cgroup)";
    int eai = failed->private_fields.eai;
    return eai && eai != EAI_SYSTEM ? gai_strerror(eai) : NULL;
}

/* Where there was no thread, unr_explain_op() says so of every operation. */
static const char *explain(const struct unr_op *ended)
{
    bool had_thread = !(ended->private_fields.flags & UNRI_NO_WORKER);
    return had_thread ? unri_lookup_words((const struct unr_resolve *)ended) : NULL;
}

static const struct unr_op_type type = {
    .size = sizeof(struct unr_op_type),
    .supports = UNR_CANCEL_ALL,
    .name = "resolve",
    .start = resolve_start,
    .cancel = resolve_cancel,
    .private_fields = { .kind = UNRI_PARKED, .explain = explain },
};

/* Copies a name.  Returns whether it has room. */
static bool copy(char *to, size_t size, const char *name, bool *ret_there_is_one)
{
    size_t len = name ? strlen(name) : 0;
    *ret_there_is_one = name;
    if (len >= size)
        return false;
    memcpy(to, name ? name : "", len + 1);
    return true;
}

struct unr_op *unr_resolve(struct unr_resolve *resolve, const char *host, const char *service,
                           const struct addrinfo *hints)
{
    static const struct addrinfo none;
    struct unr_resolve_private  *p = &resolve->private_fields;
    const struct addrinfo       *from = hints ? hints : &none;
    unr_describe(&resolve->op, &type);
    resolve->addresses = NULL;
    p->eai = 0;
    p->is_too_long = !copy(p->host, sizeof p->host, host, &p->has_host);
    p->is_too_long |= !copy(p->service, sizeof p->service, service, &p->has_service);
    p->has_hints = hints;
    p->flags = from->ai_flags;
    p->family = from->ai_family;
    p->socktype = from->ai_socktype;
    p->protocol = from->ai_protocol;
    return &resolve->op;
}

void unr_resolve_free(struct unr_resolve *resolve)
{
    if (resolve->addresses)
        unri_os_lookup_free(resolve->addresses);
    resolve->addresses = NULL;
}

int unr_resolve_eai(const struct unr_resolve *resolve)
{
    return resolve->private_fields.eai;
}

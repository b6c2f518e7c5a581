/* SPDX-License-Identifier: MIT */
/* Names: what a lookup says, what a request does to one that hangs, and connecting by name.  The
 * name server is this file: getaddrinfo() below. */
#include "support.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <semaphore.h>

TestSuite(resolve, .init = open_loop);
TestSuite(resolve_contract);

enum { CAUSE = -40, RESOLVERS = 4 };

/* ---- the name server ---- */

static sem_t      asked, answer; /* of the lookups that hang */
static atomic_int lookups, lists_left, freed_elsewhere;
static pthread_t  loops_thread;

typedef int getaddrinfo_fn(const char *, const char *, const struct addrinfo *, struct addrinfo **);
typedef void freeaddrinfo_fn(struct addrinfo *);

/* What this file has found. */
struct found {
    struct addrinfo     info;
    struct sockaddr_in6 address; /* or one of IPv4, which is smaller */
};

static char made_here[] = "made here";

static struct addrinfo *make(const char *number, const char *service, const struct addrinfo *hints,
                             struct addrinfo *next)
{
    struct found       *found = calloc(1, sizeof *found);
    struct sockaddr_in *in = (struct sockaddr_in *)&found->address;
    found->info.ai_family = strchr(number, ':') ? AF_INET6 : AF_INET;
    found->info.ai_socktype = hints ? hints->ai_socktype : SOCK_STREAM;
    found->info.ai_addr = (struct sockaddr *)&found->address;
    found->info.ai_addrlen = found->info.ai_family == AF_INET ? sizeof *in : sizeof found->address;
    found->info.ai_canonname = made_here;
    found->info.ai_next = next;
    in->sin_family = (sa_family_t)found->info.ai_family;
    in->sin_port = htons((uint16_t)atoi(service ? service : "0")); /* at one place in both */
    inet_pton(found->info.ai_family, number,
              found->info.ai_family == AF_INET ? (void *)&in->sin_addr
                                               : (void *)&found->address.sin6_addr);
    return &found->info;
}

/* "here" has one address, "two" two; "hangs" answers when it is told to, with that of "here"; "eai"
 * and a number fail with that.  Numbers and "localhost" are asked of the system. */
int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                struct addrinfo **ret_found)
{
    if (!host || strcmp(host, "localhost") == 0 || (hints && hints->ai_flags & AI_NUMERICHOST)) {
        getaddrinfo_fn *real = (getaddrinfo_fn *)(uintptr_t)dlsym(RTLD_NEXT, "getaddrinfo");
        int             eai = real(host, service, hints, ret_found);
        lists_left += eai == 0;
        return eai;
    }
    lookups++;
    if (strncmp(host, "eai", 3) == 0) {
        errno = ECANCELED; /* for EAI_SYSTEM: it says nothing of ours */
        return atoi(host + 3);
    }
    bool hangs = strcmp(host, "hangs") == 0, are_two = strcmp(host, "two") == 0;
    if (!hangs && !are_two && strcmp(host, "here") != 0)
        return EAI_NONAME;
    if (hangs) {
        sem_post(&asked);
        while (sem_wait(&answer) < 0)
            ;
    }
    lists_left++;
    *ret_found = make("127.0.0.1", service, hints, NULL);
    if (are_two)
        *ret_found = make("::1", service, hints, *ret_found);
    return 0;
}

void freeaddrinfo(struct addrinfo *list)
{
    bool is_ours = list->ai_canonname == made_here;
    lists_left--;
    if (!is_ours)
        ((freeaddrinfo_fn *)(uintptr_t)dlsym(RTLD_NEXT, "freeaddrinfo"))(list);
    while (is_ours && list) {
        struct addrinfo *next = list->ai_next;
        free(unr_container_of(list, struct found, info));
        list = next;
    }
    freed_elsewhere += !pthread_equal(pthread_self(), loops_thread);
}

static void open_name_server(void)
{
    sem_init(&asked, 0, 0);
    sem_init(&answer, 0, 0);
    lookups = lists_left = freed_elsewhere = 0;
    loops_thread = pthread_self();
}

static void await(sem_t *semaphore)
{
    while (sem_wait(semaphore) < 0)
        cr_assert_eq(errno, EINTR);
}

/* ---- lookups ---- */

struct lookup {
    struct seen        seen;
    struct unr_resolve resolve;
};

static void look_up(struct lookup *l, const char *host)
{
    start(&l->seen, unr_resolve(&l->resolve, host, "80", NULL));
}

static uint16_t port_of(const struct addrinfo *info)
{
    return ntohs(((const struct sockaddr_in *)info->ai_addr)->sin_port);
}

Test(resolve, a_number_is_looked_up_at_once)
{
    struct lookup l = { .seen.runs = 0 };
    open_name_server();
    look_up(&l, "127.0.0.1");
    submit();
    cr_assert_eq(l.seen.runs, 1, "in the next turn");
    cr_assert_eq(l.seen.result.error, 0);
    cr_assert_eq(port_of(l.resolve.addresses), 80);
    int count = 0;
    for (const struct addrinfo *each = l.resolve.addresses; each; each = each->ai_next)
        count++;
    cr_assert_eq(l.seen.result.value, count);
    cr_assert_eq(lookups, 0, "and no name server was asked");
    unr_resolve_free(&l.resolve);
    unr_resolve_free(&l.resolve);
    cr_assert_null(l.resolve.addresses);
    cr_assert_eq(lists_left, 0);
    close_loop();
}

Test(resolve, names_are_looked_up_on_a_thread)
{
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_family = AF_INET };
    struct lookup         l = { .seen.runs = 0 };
    open_name_server();
    char           host[] = "here", service[] = "8080";
    struct unr_op *described = unr_resolve(&l.resolve, host, service, &hints);
    memset(host, 'x', sizeof host - 1); /* it has copies */
    memset(service, 'x', sizeof service - 1);
    start(&l.seen, described);
    run();
    cr_assert_eq(l.seen.result.error, 0);
    cr_assert_eq(l.seen.result.value, 1);
    cr_assert_eq(unr_resolve_eai(&l.resolve), 0);
    cr_assert_eq(port_of(l.resolve.addresses), 8080);
    cr_assert_eq(l.resolve.addresses->ai_socktype, SOCK_STREAM);
    unr_resolve_free(&l.resolve);
    cr_assert_eq(lists_left, 0);
    close_loop();
}

Test(resolve, the_systems_own_names)
{
    struct lookup    l = { .seen.runs = 0 };
    struct addrinfo *found;
    open_name_server();
    if (getaddrinfo("localhost", "80", NULL, &found))
        cr_skip_test("this system does not know localhost");
    freeaddrinfo(found);
    look_up(&l, "localhost");
    run();
    cr_assert_eq(l.seen.result.error, 0);
    unr_resolve_free(&l.resolve);
    close_loop();
}

Test(resolve, errors_are_told_as_numbers)
{
    const struct {
        int eai, error;
    } cases[] = {
        { EAI_NONAME, -ENOENT },   { EAI_AGAIN, -EAGAIN },  { EAI_FAIL, -EIO },
        { EAI_MEMORY, -ENOMEM },   { EAI_FAMILY, -EINVAL }, { EAI_SERVICE, -EINVAL },
        { EAI_BADFLAGS, -EINVAL }, { EAI_SYSTEM, -EIO },    { -1000, -EIO },
#ifdef EAI_NODATA
        { EAI_NODATA, -ENOENT },
#endif
    };
    open_name_server();
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct lookup l = { .seen.runs = 0 };
        char          host[32];
        snprintf(host, sizeof host, "eai%d", cases[i].eai);
        look_up(&l, host);
        run();
        cr_assert_eq(l.seen.result.error, cases[i].error, "%s: %d", host, l.seen.result.error);
        cr_assert_eq(unr_resolve_eai(&l.resolve), cases[i].eai);
        const char *words = unr_explain_op(&l.resolve.op);
        cr_assert((cases[i].eai == EAI_SYSTEM) == !strstr(words, gai_strerror(cases[i].eai)), "%s",
                  words);
        cr_assert_null(l.resolve.addresses);
        unr_resolve_free(&l.resolve);
    }
    close_loop();
}

Test(resolve, a_name_that_is_too_long_is_not_there)
{
    struct lookup l = { .seen.runs = 0 };
    char          host[UNR_HOST_MAX + 1] = { 0 };
    open_name_server();
    memset(host, 'x', UNR_HOST_MAX);
    look_up(&l, host);
    run();
    cr_assert_eq(l.seen.result.error, -ENOENT);
    cr_assert_eq(lookups, 0);
    l.seen.runs = 0;
    host[UNR_HOST_MAX - 1] = 0;
    look_up(&l, host);
    run();
    cr_assert_eq(l.seen.result.error, -ENOENT);
    cr_assert_eq(lookups, 1, "the longest is looked up");
    close_loop();
}

/* ---- cancelled ---- */

Test(resolve, a_lookup_that_hangs_is_cancelled_at_once)
{
    struct lookup l = { .seen.runs = 0 };
    open_name_server();
    look_up(&l, "hangs");
    await(&asked);
    cr_assert(unr_cancel_cause(&l.resolve.op, UNR_CANCEL_TOTAL, CAUSE));
    run();
    expect_cancelled(&l.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, CAUSE);
    cr_assert_null(l.resolve.addresses);
    close_loop();
}

Test(resolve, an_abandoned_lookup_frees_itself)
{
    struct lookup l = { .seen.runs = 0 };
    open_name_server();
    look_up(&l, "hangs");
    await(&asked);
    cr_assert_eq(unr_loop_close(loop), 0);
    expect_cancelled(&l.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ESHUTDOWN);
    memset(&l, 0xa5, sizeof l);
    cr_assert_eq(lists_left, 0);
    sem_post(&answer);
    while (freed_elsewhere == 0)
        sched_yield();
    cr_assert_eq(lists_left, 0);
}

Test(resolve, what_waits_for_a_thread_never_begins)
{
    struct lookup hanging[RESOLVERS] = { { .seen.runs = 0 } }, l = { .seen.runs = 0 };
    open_name_server();
    for (int i = 0; i < RESOLVERS; i++)
        look_up(&hanging[i], "hangs");
    for (int i = 0; i < RESOLVERS; i++)
        await(&asked);
    look_up(&l, "here");
    unr_cancel(&l.resolve.op, UNR_CANCEL_ALL);
    finish(&l.seen);
    expect_cancelled(&l.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -ECANCELED);
    l.seen.runs = 0;
    look_up(&l, "here"); /* it begins when one returns */
    sem_post(&answer);
    finish(&l.seen);
    cr_assert_eq(l.seen.result.value, 1);
    unr_resolve_free(&l.resolve);
    for (int i = 1; i < RESOLVERS; i++)
        sem_post(&answer);
    run();
    for (int i = 0; i < RESOLVERS; i++)
        unr_resolve_free(&hanging[i].resolve);
    cr_assert_eq(lists_left, 0);
    close_loop();
}

Test(resolve, what_was_found_before_a_request_is_the_callers)
{
    struct lookup       hanging[RESOLVERS] = { { .seen.runs = 0 } }, l = { .seen.runs = 0 };
    struct unr_deadline deadline = { 0 };
    open_name_server();
    for (int i = 0; i < RESOLVERS; i++)
        look_up(&hanging[i], i ? "hangs" : "here");
    for (int i = 1; i < RESOLVERS; i++)
        await(&asked);
    start(&l.seen,
          unr_cancel_after(&deadline, unr_resolve(&l.resolve, "hangs", NULL, NULL), UNR_SEC(1000)));
    await(&asked); /* by the thread that has posted the first */
    unr_cancel_cause(&hanging[0].resolve.op, UNR_CANCEL_ALL, CAUSE);
    finish(&hanging[0].seen);
    cr_assert_eq(hanging[0].seen.result.error, 0);
    cr_assert_eq(hanging[0].seen.result.verdict, UNR_VERDICT_TOO_LATE);
    cr_assert_not_null(hanging[0].resolve.addresses);
    unr_deadline_move(&deadline, unr_loop_now(loop));
    finish(&l.seen);
    cr_assert(unr_timed_out(&l.seen.result));
    for (int i = 1; i <= RESOLVERS; i++)
        sem_post(&answer);
    run();
    for (int i = 0; i < RESOLVERS; i++)
        unr_resolve_free(&hanging[i].resolve);
    while (freed_elsewhere == 0)
        sched_yield();
    cr_assert_eq(lists_left, 0);
    close_loop();
}

static int adds_one(void *argument)
{
    return ++*(int *)argument;
}

Test(resolve, a_hundred_lookups_that_hang_delay_no_work)
{
    enum { HUNDRED = 100 };
    static struct lookup hanging[HUNDRED];
    struct seen          seen = { .runs = 0 };
    struct unr_work      work = { 0 };
    struct lookup        number = { .seen.runs = 0 };
    int                  count = 41;
    open_name_server();
    for (int i = 0; i < HUNDRED; i++)
        look_up(&hanging[i], "hangs");
    for (int i = 0; i < RESOLVERS; i++)
        await(&asked);
    start(&seen, unr_work(&work, adds_one, &count));
    look_up(&number, "::1");
    finish(&seen);
    finish(&number.seen);
    cr_assert_eq(seen.result.value, 42);
    cr_assert_eq(number.seen.result.error, 0);
    unr_resolve_free(&number.resolve);
    for (int i = 0; i < HUNDRED; i++)
        unr_cancel(&hanging[i].resolve.op, UNR_CANCEL_TOTAL);
    run();
    int began = 0;
    for (int i = 0; i < HUNDRED; i++) {
        cr_assert_eq(hanging[i].seen.result.error, -ECANCELED);
        cr_assert_eq(hanging[i].seen.result.guarantee, UNR_CANCEL_TOTAL);
        began += hanging[i].seen.result.verdict == UNR_VERDICT_CANCELLED;
    }
    cr_assert_eq(began, RESOLVERS);
    for (int i = 0; i < RESOLVERS; i++)
        sem_post(&answer);
    while (freed_elsewhere < RESOLVERS)
        sched_yield();
    cr_assert_eq(lists_left, 0);
    close_loop();
}

static void exits(void *context)
{
    static struct lookup l;
    (void)context;
    open_loop_of_child();
    open_name_server();
    look_up(&l, "hangs");
    while (sem_wait(&asked) < 0)
        ;
    must(unr_cancel(&l.resolve.op, UNR_CANCEL_ALL));
    must(unr_loop_run(loop) == 0);
    must(unr_loop_close(loop) == 0);
    end_process(); /* while it runs, and for ever */
}

Test(resolve_contract, the_process_may_end_meanwhile)
{
    struct death death = in_child(exits, NULL);
    expect_success(&death);
}

/* It is ended by unring, when its thread has returned. */
BREACH_IN(resolve_contract, open_loop_of_child(), lookup_finished, "resolve",
          "unr_finish is called once for each start")
{
    static struct lookup l;
    open_name_server();
    look_up(&l, "hangs");
    await(&asked);
    unr_finish(&l.resolve.op, 0);
}

/* ---- connecting by name ---- */

static int listen_on_loopback(char ret_service[8])
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t          len = sizeof address;
    int                fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, len), 0);
    cr_assert_eq(listen(fd, 16), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    snprintf(ret_service, 8, "%u", ntohs(address.sin_port));
    return fd;
}

struct by_name {
    struct seen             seen;
    struct unr_connect_name connect;
    char                    service[8];
    int                     listener;
};

static void open_by_name(struct by_name *c)
{
    open_name_server();
    c->listener = listen_on_loopback(c->service);
}

static void close_by_name(struct by_name *c)
{
    close(c->listener);
    cr_assert_eq(lists_left, 0, "all addresses are given back");
    close_loop();
}

static void expect_connected(struct by_name *c, int failed)
{
    cr_assert_eq(c->seen.result.error, 0, "error %d", c->seen.result.error);
    cr_assert_eq(c->seen.result.value, failed);
    int accepted = accept(c->listener, NULL, NULL);
    cr_assert_geq(accepted, 0);
    cr_assert_eq(send(c->seen.result.fd, "x", 1, MSG_NOSIGNAL), 1);
    char byte;
    cr_assert_eq(recv(accepted, &byte, 1, 0), 1);
    close(accepted);
    close(c->seen.result.fd);
}

Test(resolve, connects_by_name)
{
    const struct {
        const char *host;
        int         failed;
    } cases[] = { { "here", 0 }, { "127.0.0.1", 0 }, { "two", 1 } };
    struct by_name c = { .seen.runs = 0 };
    open_by_name(&c);
    for (size_t i = 0; i < LENGTH(cases); i++) {
        c.seen.runs = 0;
        start(&c.seen, unr_connect_name(&c.connect, cases[i].host, c.service));
        run();
        expect_connected(&c, cases[i].failed);
        cr_assert_eq(lists_left, 0, "the addresses are given back");
    }
    close_by_name(&c);
}

Test(resolve, a_name_that_is_not_there_is_not_connected_to)
{
    struct by_name c = { .seen.runs = 0 };
    open_by_name(&c);
    start(&c.seen, unr_connect_name(&c.connect, "nowhere", c.service));
    run();
    cr_assert_eq(c.seen.result.error, -ENOENT);
    cr_assert_eq(c.seen.result.fd, -1);
    cr_assert(strstr(unr_explain_op(&c.connect.op), gai_strerror(EAI_NONAME)));
    close_by_name(&c);
}

Test(resolve, a_connect_by_name_is_cancelled_in_its_lookup)
{
    struct by_name c = { .seen.runs = 0 };
    open_by_name(&c);
    start(&c.seen, unr_connect_name(&c.connect, "hangs", c.service));
    await(&asked);
    unr_cancel_cause(&c.connect.op, UNR_CANCEL_PARTIAL, CAUSE);
    run();
    cr_assert_eq(c.seen.result.error, -ECANCELED);
    cr_assert_eq(c.seen.result.cause, CAUSE);
    cr_assert_eq(c.seen.result.fd, -1);
    sem_post(&answer);
    while (freed_elsewhere == 0)
        sched_yield();
    close_by_name(&c);
}

/* The lookup has answered, and the request was let in before that was heard of. */
Test(resolve, a_request_behind_the_answer_ends_it_before_it_connects)
{
    struct by_name c = { .seen.runs = 0 };
    struct lookup  hanging[RESOLVERS - 1] = { { .seen.runs = 0 } }, last = { .seen.runs = 0 };
    open_by_name(&c);
    for (int i = 0; i < RESOLVERS - 1; i++)
        look_up(&hanging[i], "hangs");
    for (int i = 0; i < RESOLVERS - 1; i++)
        await(&asked);
    start(&c.seen, unr_connect_name(&c.connect, "here", c.service));
    look_up(&last, "hangs");
    await(&asked); /* by the thread that has answered */
    unr_cancel_cause(&c.connect.op, UNR_CANCEL_ALL, CAUSE);
    finish(&c.seen);
    cr_assert_eq(c.seen.result.error, -ECANCELED);
    cr_assert_eq(c.seen.result.fd, -1);
    cr_assert_eq(lists_left, 0);
    for (int i = 0; i < RESOLVERS; i++)
        sem_post(&answer);
    run();
    for (int i = 0; i < RESOLVERS - 1; i++)
        unr_resolve_free(&hanging[i].resolve);
    unr_resolve_free(&last.resolve);
    close_by_name(&c);
}

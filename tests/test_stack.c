/* SPDX-License-Identifier: MIT */
/* The stacks of fibers: what they cost, what guards them, how they are kept, and where there is no
 * memory for them. */
#include "support.h"

#include <dlfcn.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

TestSuite(stack, .init = open_loop, .timeout = 60);
TestSuite(stack_contract, .timeout = 60);

enum { KIB = 1024, PAGE = 4096, SLAB = 4096 * KIB };

/* ---- the system, as the library sees it ---- */

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

static size_t pages;     /* of the kernel, as the library sees them; 0: as they are */
static long   not_whole; /* calls for parts of such pages of the last slab */
static char  *last_slab;
static bool   refuses_guards, refuses_protection, forces_huge_pages;
static long   guards_protected;  /* by mprotect(2) */
static int    maps_left = -1;    /* how many slabs are still mapped; below 0: all */
static int    commits_left = -1; /* how many slabs may still be written to */

static void look_at(const void *address, size_t size)
{
    const char *at = address;
    if (last_slab && at >= last_slab && at < last_slab + SLAB)
        not_whole += ((uintptr_t)address | size) % pages != 0;
}

static unsigned long signal_frame; /* the largest, as the library sees it; 0: as it is */

#if !SUPPORT_SANITIZED /* which calls these before anything can be looked up */

long sysconf(int name)
{
    long (*real)(int) = NULL;
    *(void **)&real = dlsym(RTLD_NEXT, "sysconf");
    return name == _SC_PAGESIZE && pages ? (long)pages : real(name);
}

unsigned long getauxval(unsigned long type)
{
    unsigned long (*real)(unsigned long) = NULL;
    *(void **)&real = dlsym(RTLD_NEXT, "getauxval");
    return type == AT_MINSIGSTKSZ && signal_frame ? signal_frame : real(type);
}

#endif

/* What is written for each page is told of those that a larger one consists of. */
int mincore(void *address, size_t size, unsigned char *ret_pages)
{
    static unsigned char each[SLAB / PAGE];
    look_at(address, size);
    if (!pages)
        return (int)syscall(SYS_mincore, address, size, ret_pages);
    int error = (int)syscall(SYS_mincore, address, size, each);
    memset(ret_pages, 0, size / pages);
    for (size_t i = 0; i < size / PAGE; i++)
        ret_pages[i / (pages / PAGE)] |= each[i];
    return error;
}

int madvise(void *address, size_t size, int advice)
{
    look_at(address, size);
    if (refuses_guards && advice == MADV_GUARD_INSTALL) {
        errno = EINVAL;
        return -1;
    }
    if (forces_huge_pages && advice == MADV_NOHUGEPAGE)
        advice = MADV_HUGEPAGE;
    return (int)syscall(SYS_madvise, address, size, advice);
}

int mprotect(void *address, size_t size, int protection)
{
    look_at(address, size);
    if (refuses_protection && protection == PROT_NONE) {
        errno = ENOMEM;
        return -1;
    }
    if (protection != PROT_NONE && size >= SLAB / 4 && commits_left >= 0 && commits_left-- == 0) {
        commits_left = 0;
        errno = ENOMEM;
        return -1;
    }
    guards_protected += protection == PROT_NONE && size == PAGE;
    return (int)syscall(SYS_mprotect, address, size, protection);
}

void *mmap(void *address, size_t size, int protection, int flags, int of, off_t offset)
{
    if (flags & MAP_NORESERVE && size >= SLAB / 4 && maps_left >= 0 && maps_left-- == 0) {
        maps_left = 0;
        errno = ENOMEM;
        return MAP_FAILED;
    }
    if (pages && size == SLAB) { /* at such a page's beginning */
        uintptr_t at =
            (uintptr_t)syscall(SYS_mmap, address, size + pages, protection, flags, of, offset);
        last_slab = (char *)((at + pages - 1) & ~(uintptr_t)(pages - 1));
        return last_slab;
    }
    return (void *)syscall(SYS_mmap, address, size, protection, flags, of, offset);
}

static bool guards_cost_no_mapping(void)
{
    char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool  can = syscall(SYS_madvise, page, PAGE, MADV_GUARD_INSTALL) == 0;
    munmap(page, PAGE);
    return can;
}

/* In KiB, from /proc/self/status; or, for "MemAvailable:", /proc/meminfo. */
static long kib_of(const char *file, const char *line)
{
    char  text[256];
    long  kib = -1;
    FILE *status = fopen(file, "re");
    while (fgets(text, sizeof text, status))
        if (strncmp(text, line, strlen(line)) == 0)
            kib = atol(text + strlen(line));
    fclose(status);
    return kib;
}

/* In KiB, without what is mapped of files, of which the kernel maps more than was touched. */
static long rss(void)
{
    return kib_of("/proc/self/status", "RssAnon:");
}

static long mappings(void)
{
    long  count = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    for (int c; (c = fgetc(maps)) != EOF;)
        count += c == '\n';
    fclose(maps);
    return count;
}

static long max_map_count(void)
{
    long  count = 65530;
    FILE *file = fopen("/proc/sys/vm/max_map_count", "re");
    cr_assert_eq(fscanf(file, "%ld", &count), 1);
    fclose(file);
    return count;
}

static struct unr_stats stats(void)
{
    struct unr_stats s;
    unr_loop_stats(loop, &s, sizeof s);
    return s;
}

/* Opens the loop again, with options for its stacks. */
static void reopen(unsigned kept, size_t size)
{
    struct unr_loop_options options = { .size = sizeof options,
                                        .flags = test_flags(),
                                        .fiber_stacks_kept = kept,
                                        .fiber_stack = size };
    cr_assert_eq(unr_loop_close(loop), 0);
    cr_assert_eq(unr_loop_open(&loop, &options), 0);
}

static int sleeps(void *argument)
{
    (void)argument;
    return unr_sleep_until(UNR_NEVER);
}

static int yields(void *argument)
{
    (void)argument;
    return unr_yield();
}

/* Fibers that wait at the same time, each on a stack of its own. */
static struct unr_fiber *start_many(int count, size_t size)
{
    struct unr_fiber_options options = { .size = sizeof options, .stack = size };
    struct unr_fiber        *fibers = calloc((size_t)count, sizeof *fibers);
    uint64_t                 begun = stats().fibers_begun;
    for (int i = 0; i < count; i++)
        unr_start(loop, unr_fiber_with(&fibers[i], sleeps, NULL, &options), NULL, NULL);
    submit();
    cr_assert_eq(stats().fibers_begun - begun, (unsigned)count);
    return fibers;
}

static void end_many(struct unr_fiber *fibers, int count)
{
    for (int i = 0; i < count; i++)
        unr_cancel(&fibers[i].op, UNR_CANCEL_TERMINAL);
    run();
    for (int i = 0; i < count; i++)
        cr_assert_eq(fibers[i].op.result.error, -ECANCELED);
    free(fibers);
}

/* ---- what they cost ---- */

/* An idle fiber costs a page and its structure, and the page tables of 256 KiB; a slab of stacks
 * one mapping. */
Test(stack, a_hundred_thousand_idle_fibers)
{
    enum { COUNT = 100000 };
    skip_with_checks();
    if (SUPPORT_SANITIZED || RUNNING_ON_VALGRIND)
        cr_skip_test("a sanitizer's own memory is more than that of the stacks");
    if (!guards_cost_no_mapping())
        cr_skip_test("Linux before 6.13 has no guards inside a mapping");
    if (kib_of("/proc/meminfo", "MemAvailable:") < 2L * KIB * KIB)
        cr_skip_test("there are less than 2 GiB of memory");
    long resident = rss(), tables = kib_of("/proc/self/status", "VmPTE:"), maps = mappings();
    struct unr_fiber *fibers = start_many(COUNT, 0);
    resident = rss() - resident;
    tables = kib_of("/proc/self/status", "VmPTE:") - tables;
    maps = mappings() - maps;
    cr_log_info("each: %ld bytes resident, %ld of page tables; %ld mappings\n",
                resident * KIB / COUNT, tables * KIB / COUNT, maps);
    cr_assert_leq(resident, COUNT * 5.5, "%ld", resident);
    cr_assert_leq(tables, COUNT * 0.75, "%ld", tables);
    cr_assert_leq(maps, COUNT / 16 + 50, "%ld", maps);
    cr_assert_eq(stats().stacks_made, COUNT);
    maps = mappings();
    end_many(fibers, COUNT);
    cr_assert_eq(stats().stacks_kept, 1024);
    cr_assert_eq(stats().stacks_given_back, COUNT - 1024);
    cr_assert_leq(mappings(), maps);
    cr_assert_leq(kib_of("/proc/self/status", "VmSize:"), 8L * KIB * KIB, "slabs are unmapped");
    close_loop();
}

/* Where each guard takes two mappings, a quarter of those that a process may have become guards,
 * and there are more stacks than that. */
Test(stack, forty_thousand_where_guards_are_mprotect)
{
    enum { COUNT = 40000 };
    if (SUPPORT_SANITIZED || RUNNING_ON_VALGRIND)
        cr_skip_test("a sanitizer's own memory is more than that of the stacks");
    refuses_guards = true;
    long              maps = mappings();
    struct unr_fiber *fibers = start_many(COUNT, 16 * KIB);
    maps = mappings() - maps;
    cr_log_info("%ld mappings\n", maps);
    cr_assert_geq(maps, max_map_count() / 4, "%ld", maps);
    cr_assert_leq(maps, max_map_count() / 2 + 1000, "%ld", maps);
    end_many(fibers, COUNT);
    close_loop();
}

/* Whether a slab begins where a huge page may: Linux 6.7 and later see to it. */
static bool slabs_are_aligned(void)
{
    char *slab = mmap(NULL, SLAB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    bool  are = (uintptr_t)slab % (2048 * KIB) == 0;
    munmap(slab, SLAB);
    return are;
}

/* Where the slabs had huge pages, one would come with the first touch of a stack: the guards are in
 * the way of that. */
Test(stack, huge_pages_that_are_forced)
{
    enum { COUNT = 1000 };
    if (SUPPORT_SANITIZED || RUNNING_ON_VALGRIND)
        cr_skip_test("a sanitizer's own memory is more than that of the stacks");
    if (!slabs_are_aligned())
        cr_skip_test("a huge page may begin behind a guard: the advice alone keeps them off");
    for (int way = 0; way < 2; way++) {
        reopen(1, 0);
        refuses_guards = way;
        forces_huge_pages = true;
        long              resident = rss();
        struct unr_fiber *fibers = start_many(COUNT, 0);
        resident = rss() - resident;
        cr_log_info("each: %ld bytes resident\n", resident * KIB / COUNT);
        cr_assert_leq(resident, COUNT * 16, "%ld", resident);
        end_many(fibers, COUNT);
    }
    close_loop();
}

/* ---- what guards them ---- */

/* The lowest address that is not a guard's. */
static volatile char *low_end(void)
{
    struct unr_stack_use use;
    unr_stack_use(&use, sizeof use);
    char *near = __builtin_frame_address(0);
    char *low = near - use.left; /* near enough to find the page */
    return (char *)(((uintptr_t)low + PAGE / 2) & ~(uintptr_t)(PAGE - 1));
}

static int writes_low(void *argument)
{
    low_end()[*(int *)argument] = 1;
    must(unr_yield() == 0);
    must(unr_yield() == 0);
    return 0;
}

static void overflow(void *context)
{
    struct unr_fiber         fiber = { 0 };
    struct unr_fiber_options options = { .size = sizeof options, .name = "ferry" };
    struct unr_loop_options  small = { .size = sizeof small, .fiber_stack = 16 * KIB };
    must(unr_loop_open(&loop, &small) == 0);
    unr_start(loop, unr_fiber_with(&fiber, writes_low, context, &options), NULL, NULL);
    must(unr_loop_run(loop) == 0);
    must(fiber.op.result.error == 0);
    must(unr_loop_close(loop) == 0);
}

static void overflow_with_mprotect(void *context)
{
    refuses_guards = true;
    overflow(context);
}

static void overflow_without_guard(void *context)
{
    refuses_guards = refuses_protection = true;
    overflow(context);
}

/* The page below a stack faults, whichever way it is guarded; one without a guard has a line that
 * is looked at when the fiber waits, and names it. */
Test(stack_contract, guards)
{
    int          below = -1, lowest = 0, far_enough = 64;
    struct death death;
    skip_if_refused();
    if (SUPPORT_SANITIZED || RUNNING_ON_VALGRIND)
        cr_skip_test("the sanitizer has words of its own for it");
    for (int way = 0; way < 2; way++) {
        death = in_child(way ? overflow_with_mprotect : overflow, &below);
        cr_assert(WIFSIGNALED(death.status), "status %#x", (unsigned)death.status);
        cr_assert_eq(WTERMSIG(death.status), SIGSEGV);
        death = in_child(way ? overflow_with_mprotect : overflow, &lowest);
        expect_success(&death);
    }
    death = in_child(overflow_without_guard, &lowest);
    expect_abort(&death, (const char *const[]){ "ferry: the stack of a fiber has overflowed",
                                                "unr_fiber_options.stack", NULL });
    death = in_child(overflow_without_guard, &far_enough);
    expect_success(&death);
}

/* ---- overflows ---- */

/* The depth is more than any stack has room for. */
__attribute__((noinline)) static unsigned recurses(unsigned depth)
{
    volatile unsigned char frame[1024];
    frame[0] = (unsigned char)depth;
    return depth ? recurses(depth - 1) + frame[0] : 0;
}

__attribute__((noinline)) static unsigned large_frame(void)
{
    volatile unsigned char frame[64 * KIB];
    for (size_t i = sizeof frame; i > 0; i -= PAGE) /* as -fstack-clash-protection has it */
        frame[i - 1] = 1;
    return frame[0];
}

enum { BY_RECURSION, BY_A_FRAME };

static int overflows(void *argument)
{
    return (int)(*(int *)argument == BY_RECURSION ? recurses(1u << 20) : large_frame());
}

static void overflow_really(void *context)
{
    struct unr_fiber         fiber = { 0 }, other = { 0 };
    struct unr_fiber_options options = { .size = sizeof options,
                                         .name = "ferry",
                                         .stack = 16 * KIB };
    int                      lowest = 0;
    must(unr_loop_open(&loop, NULL) == 0);
    options.name = "other";
    unr_start(loop, unr_fiber_with(&other, writes_low, &lowest, &options), NULL, NULL);
    must(unr_loop_run_once(loop, 0) >= 0);
    options.name = "ferry";
    unr_start(loop, unr_fiber_with(&fiber, overflows, context, &options), NULL, NULL);
    unr_loop_run(loop);
}

static void overflow_really_with_mprotect(void *context)
{
    refuses_guards = true;
    overflow_really(context);
}

static void overflow_really_in_large_pages(void *context)
{
    pages = 64 * KIB;
    overflow_really(context);
}

/* What there is at least: room for a handler, and for the registers that the kernel saves. */
static size_t smallest(void)
{
    size_t size = 16 * KIB;
    while (size < getauxval(AT_MINSIGSTKSZ) + 12 * KIB)
        size *= 2;
    return size;
}

/* A recursion, and a frame that is larger than the stack, in the words of the handler; and it is
 * SIGSEGV that ends the process. */
Test(stack_contract, an_overflow_names_its_fiber)
{
    skip_if_refused();
    if (SUPPORT_SANITIZED)
        cr_skip_test("the sanitizer has words of its own for it");
    char words[200];
    snprintf(words, sizeof words,
             "unring: the stack of a fiber has overflowed: ferry, which has %zu KiB; "
             "unr_fiber_options.stack gives it more\n",
             smallest() / KIB);
    for (int by = BY_RECURSION; by <= BY_A_FRAME; by++)
        for (int way = 0; way < 2; way++) {
            struct death death =
                in_child(way ? overflow_really_with_mprotect : overflow_really, &by);
            cr_assert(WIFSIGNALED(death.status) && WTERMSIG(death.status) == SIGSEGV,
                      "status %#x: %s", (unsigned)death.status, death.words);
            cr_assert_str_eq(death.words, words);
        }
}

/* The smallest stack has room for the guard, which takes one page, and for what it has elsewhere.
 */
Test(stack_contract, an_overflow_into_a_large_page)
{
    int by = BY_RECURSION;
    skip_if_refused();
    if (SUPPORT_SANITIZED || RUNNING_ON_VALGRIND)
        cr_skip_test("the sanitizer has words of its own for it");
    struct death death = in_child(overflow_really_in_large_pages, &by);
    cr_assert(WIFSIGNALED(death.status) && WTERMSIG(death.status) == SIGSEGV, "status %#x: %s",
              (unsigned)death.status, death.words);
    cr_assert_not_null(strstr(death.words, ": ferry, which has 128 KiB;"), "%s", death.words);
}

static void own_handler(int number)
{
    (void)number;
    ssize_t ignored = write(STDERR_FILENO, "own words", 9);
    (void)ignored;
    _exit(3);
}

static void overflow_with_a_handler(void *context)
{
    static char      alternate[64 * KIB];
    stack_t          own = { .ss_sp = alternate, .ss_size = sizeof alternate }, present;
    struct sigaction action = { .sa_handler = own_handler, .sa_flags = SA_ONSTACK };
    must(sigaltstack(&own, NULL) == 0);
    must(sigaction(SIGSEGV, &action, NULL) == 0);
    overflow_really(context);
    must(sigaltstack(NULL, &present) == 0);
}

/* A program that has a handler for SIGSEGV keeps it, and its alternate stack. */
Test(stack_contract, an_own_handler_of_the_program_is_kept)
{
    int by = BY_RECURSION;
    skip_if_refused();
    if (SUPPORT_SANITIZED)
        cr_skip_test("the sanitizer has a handler of its own");
    struct death death = in_child(overflow_with_a_handler, &by);
    cr_assert(WIFEXITED(death.status) && WEXITSTATUS(death.status) == 3, "status %#x: %s",
              (unsigned)death.status, death.words);
    cr_assert_str_eq(death.words, "own words");
}

static int returns_at_once(void *argument)
{
    return argument != NULL;
}

static void signalled_or_faults(void *context)
{
    must(unr_run_fiber(NULL, returns_at_once, NULL) == 0);
    if (*(int *)context)
        kill(getpid(), SIGSEGV);
    else
        *(volatile char *)context = *(volatile char *)(uintptr_t) * (int *)context;
    _exit(4);
}

/* What is no overflow ends the process as before, without a word; the signal of kill(2), too. */
Test(stack_contract, other_faults_are_not_the_handlers)
{
    skip_if_refused();
    if (SUPPORT_SANITIZED)
        cr_skip_test("the sanitizer has a handler of its own");
    for (int sent = 0; sent < 2; sent++) {
        struct death death = in_child(signalled_or_faults, &sent);
        cr_assert(WIFSIGNALED(death.status) && WTERMSIG(death.status) == SIGSEGV, "%d: status %#x",
                  sent, (unsigned)death.status);
        cr_assert_str_eq(death.words, "");
    }
}

static void lock_memory(void *context)
{
    static int    low = 0, below = -1;
    long          resident;
    struct rlimit limit;
    (void)context;
    getrlimit(RLIMIT_MEMLOCK, &limit);
    bool is_enough =
        geteuid() == 0 || limit.rlim_cur >= 64 * KIB * KIB; /* it counts all that is mapped */
    if (!is_enough || mlockall(MCL_FUTURE) != 0) {
        dprintf(STDERR_FILENO, "no right");
        _exit(0);
    }
    must(unr_loop_open(&loop, NULL) == 0);
    resident = rss();
    struct unr_fiber *fibers = start_many(40, 0);
    must(rss() - resident < 40 * 64); /* and not 256 each */
    end_many(fibers, 40);
    unr_start(loop, unr_fiber(&(struct unr_fiber){ 0 }, writes_low, &low), NULL, NULL);
    must(unr_loop_run(loop) == 0);
    unr_start(loop, unr_fiber(&(struct unr_fiber){ 0 }, writes_low, &below), NULL, NULL);
    unr_loop_run(loop);
}

/* In a process that locks its memory, a stack is memory as far as it was used, and has a guard. */
Test(stack_contract, mlockall)
{
    skip_if_refused();
    if (SUPPORT_SANITIZED || RUNNING_ON_VALGRIND)
        cr_skip_test("a sanitizer needs more than can be locked");
    struct death death = in_child(lock_memory, NULL);
    if (strstr(death.words, "no right"))
        cr_skip_test("memory may not be locked here");
    cr_assert(WIFSIGNALED(death.status), "status %#x: %s", (unsigned)death.status, death.words);
    cr_assert_eq(WTERMSIG(death.status), SIGSEGV);
}

/* ---- no memory ---- */

/* `left`: how many more slabs there is memory for. */
static void lack_slabs(int *left)
{
    enum { SIZES = 4, EACH = 20 };
    static struct unr_fiber fibers[SIZES][EACH];
    static const size_t     sizes[SIZES] = { 16 * KIB, 256 * KIB, 1024 * KIB, 2048 * KIB };
    struct unr_stats        s;
    int                     failed = 1;
    for (int slabs = 0; failed; slabs++) {
        reopen(1, 0);
        *left = slabs;
        failed = 0;
        for (int i = 0; i < SIZES; i++)
            for (int j = 0; j < EACH; j++) {
                struct unr_fiber_options options = { .size = sizeof options, .stack = sizes[i] };
                unr_start(loop, unr_fiber_with(&fibers[i][j], yields, NULL, &options), NULL, NULL);
            }
        run();
        *left = -1;
        for (int i = 0; i < SIZES; i++)
            for (int j = 0; j < EACH; j++) {
                int error = fibers[i][j].op.result.error;
                cr_assert(error == 0 || error == -ENOMEM, "error %d", error);
                cr_assert(!error || strstr(unr_explain_op(&fibers[i][j].op), "for its stack"));
                failed += error != 0;
            }
        s = stats();
        cr_assert_eq(s.fibers_begun, (unsigned)(SIZES * EACH - failed));
        cr_assert_eq(s.fibers_ended, s.fibers_begun);
        cr_assert_geq(s.stacks_given_back + s.stacks_kept, s.stacks_made, "none is lost");
        cr_assert_leq(s.stacks_kept, SIZES);
        unr_start(loop, unr_fiber(&fibers[0][0], yields, NULL), NULL, NULL);
        run();
        cr_assert_eq(fibers[0][0].op.result.error, 0);
        cr_assert_lt(slabs, 100);
    }
    close_loop();
}

/* Whichever slab is not to be had, the fibers for which it was end with -ENOMEM, the others run,
 * and when there is memory again, all do. */
Test(stack, no_memory_for_a_slab)
{
    lack_slabs(&maps_left);
}

/* So it is where vm.overcommit_memory is 2: then the kernel refuses to have a mapping written to
 * that it cannot promise memory for, whatever MAP_NORESERVE says.  (That of the machine is not
 * touched: it counts for everything that runs.)  What cannot be used does not stay mapped. */
Test(stack, no_memory_that_is_promised)
{
    lack_slabs(&commits_left);
}

Test(stack, what_cannot_be_used_does_not_stay_mapped)
{
    enum { COUNT = 100 };
    cr_assert_eq(unr_loop_prepare_stacks(loop, 1, 0), 0);
    long size = kib_of("/proc/self/status", "VmSize:");
    for (int i = 0; i < COUNT; i++) {
        commits_left = 0;
        cr_assert_eq(unr_loop_prepare_stacks(loop, 1, 1024 * KIB), -ENOMEM);
    }
    size = kib_of("/proc/self/status", "VmSize:") - size;
    cr_assert_lt(size, COUNT * 1024, "%ld", size);
    close_loop();
}

/* Stacks that are made ready: those that there was memory for are. */
Test(stack, no_memory_to_prepare)
{
    maps_left = 2;
    cr_assert_eq(unr_loop_prepare_stacks(loop, 100, 0), -ENOMEM);
    cr_assert_eq(stats().stacks_kept, 32);
    maps_left = -1;
    cr_assert_eq(unr_loop_prepare_stacks(loop, 100, 0), 0);
    cr_assert_eq(stats().stacks_kept, 100);
    cr_assert_eq(stats().stacks_made, 100);
    close_loop();
}

static void little_address_space(void *context)
{
    enum { COUNT = 200 };
    static struct unr_fiber fibers[COUNT];
    long                    size = kib_of("/proc/self/status", "VmSize:");
    int                     failed = 0;
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0);
    size = (kib_of("/proc/self/status", "VmSize:") + 20 * KIB) * KIB;
    must(setrlimit(RLIMIT_AS, &(struct rlimit){ (rlim_t)size, (rlim_t)size }) == 0);
    for (int i = 0; i < COUNT; i++)
        unr_start(loop, unr_fiber(&fibers[i], yields, NULL), NULL, NULL);
    must(unr_loop_run(loop) == 0);
    for (int i = 0; i < COUNT; i++) {
        must(fibers[i].op.result.error == 0 || fibers[i].op.result.error == -ENOMEM);
        failed += fibers[i].op.result.error != 0;
    }
    must(failed > 0 && failed < COUNT);
    must(unr_loop_close(loop) == 0);
}

/* RLIMIT_AS counts the whole of the stacks. */
Test(stack_contract, little_address_space)
{
    skip_if_refused();
    if (SUPPORT_SANITIZED || RUNNING_ON_VALGRIND)
        cr_skip_test("a sanitizer needs address space of its own");
    struct death death = in_child(little_address_space, NULL);
    expect_success(&death);
}

/* ---- pools ---- */

/* So many idle ones are kept, of each size; the rest gives its memory back, and its slabs. */
Test(stack, a_pool_that_shrinks)
{
    enum { COUNT = 500, KEPT = 8 };
    reopen(KEPT, 0);
    struct unr_fiber *fibers = start_many(COUNT, 0);
    cr_assert_eq(stats().stacks_made, COUNT);
    cr_assert_eq(stats().stacks_kept, 0);
    long size = kib_of("/proc/self/status", "VmSize:");
    end_many(fibers, COUNT);
    struct unr_stats s = stats();
    cr_assert_eq(s.stacks_kept, KEPT);
    cr_assert_eq(s.stacks_given_back, COUNT - KEPT);
    if (!SUPPORT_SANITIZED && !RUNNING_ON_VALGRIND)
        cr_assert_leq(kib_of("/proc/self/status", "VmSize:"), size - 100 * KIB);
    fibers = start_many(COUNT, 0);
    end_many(fibers, COUNT);
    s = stats();
    cr_assert_eq(s.stacks_made, 2 * COUNT - KEPT);
    cr_assert_eq(s.stacks_made, s.stacks_kept + s.stacks_given_back);
    close_loop();
}

/* A process has guards for a quarter of its mappings.  A loop that maps and unmaps slabs for longer
 * than that gets as many as it has stacks. */
Test(stack, guards_of_slabs_that_are_gone_are_made_anew)
{
    enum { COUNT = 1024 };
    if (SUPPORT_SANITIZED || RUNNING_ON_VALGRIND)
        cr_skip_test("a sanitizer's own memory is more than that of the stacks");
    refuses_guards = true;
    reopen(1, 16 * KIB);
    for (long made = 0; made <= max_map_count() / 4; made += COUNT / 2)
        end_many(start_many(COUNT, 0), COUNT);
    long before = guards_protected;
    end_many(start_many(4 * COUNT, 0), 4 * COUNT);
    cr_assert_geq(guards_protected - before, 2 * COUNT, "%ld", guards_protected - before);
    close_loop();
}

/* Fibers that do not wait share one stack. */
Test(stack, fibers_one_after_another_share_one)
{
    enum { COUNT = 1000 };
    static struct unr_fiber fibers[COUNT];
    for (int i = 0; i < COUNT; i++) {
        unr_start(loop, unr_fiber(&fibers[i], yields, NULL), NULL, NULL);
        run();
    }
    cr_assert_eq(stats().stacks_made, 1);
    cr_assert_eq(stats().fibers_ended, COUNT);
    close_loop();
}

struct framed {
    struct unr_fiber fiber;
    char            *frame;
};

static int tells_its_frame(void *argument)
{
    struct framed *f = argument;
    f->frame = __builtin_frame_address(0);
    return unr_sleep_until(UNR_NEVER);
}

static void begin_framed(struct framed *f)
{
    unr_start(loop, unr_fiber(&f->fiber, tells_its_frame, f), NULL, NULL);
    submit();
}

static void end_framed(struct framed *f)
{
    unr_cancel(&f->fiber.op, UNR_CANCEL_TERMINAL);
    while (unr_in_flight(&f->fiber.op))
        submit();
}

/* The stack that was given back last is taken first: it is the one that is in the caches. */
Test(stack, the_last_that_was_given_back_is_taken_first)
{
    struct framed first = { .frame = NULL }, second = first, next = first;
    for (int i = 0; i < 2; i++) {
        begin_framed(&first);
        begin_framed(&second);
        end_framed(i ? &first : &second);
        end_framed(i ? &second : &first);
        begin_framed(&next);
        cr_assert_eq(next.frame, i ? second.frame : first.frame);
        end_framed(&next);
    }
    close_loop();
}

/* Frames begin at different lines of a page, so that those of many stacks do not share the sets of
 * a cache. */
Test(stack, frames_begin_at_different_lines)
{
    enum { COUNT = 64 };
    static struct framed fibers[COUNT];
    uint64_t             lines = 0;
    for (int i = 0; i < COUNT; i++) {
        begin_framed(&fibers[i]);
        lines |= UINT64_C(1) << (uintptr_t)fibers[i].frame % PAGE / 64;
    }
    for (int i = 0; i < COUNT; i++)
        end_framed(&fibers[i]);
    cr_assert_geq(__builtin_popcountll(lines), 16, "%#llx", (unsigned long long)lines);
    close_loop();
}

Test(stack, prepared_stacks_are_taken)
{
    cr_assert_eq(unr_loop_prepare_stacks(loop, 10, 0), 0);
    cr_assert_eq(unr_loop_prepare_stacks(loop, 5, 0), 0, "they are there already");
    cr_assert_eq(unr_loop_prepare_stacks(loop, 3, 20 * KIB), 0);
    cr_assert_eq(stats().stacks_made, 13);
    cr_assert_eq(stats().stacks_kept, 13);
    struct unr_fiber *fibers = start_many(10, 0);
    cr_assert_eq(stats().stacks_made, 13);
    end_many(fibers, 10);
    fibers = start_many(3, 32 * KIB);
    cr_assert_eq(stats().stacks_made, 13);
    end_many(fibers, 3);
    cr_assert_eq(unr_loop_prepare_stacks(loop, 1, (64 << 20) + 1), -EINVAL);
    cr_assert_eq(unr_loop_prepare_stacks(loop, 0, 0), 0);
    reopen(4, 0);
    cr_assert_eq(unr_loop_prepare_stacks(loop, 40, 0), 0);
    cr_assert_eq(stats().stacks_kept, 4 + 3, "of each size");
    close_loop();
}

/* A loop that is closed leaves its stacks to the next. */
Test(stack, stacks_of_a_closed_loop_are_used_by_the_next)
{
    cr_assert_eq(unr_loop_prepare_stacks(loop, 20, 0), 0);
    reopen(0, 0);
    struct unr_fiber *fibers = start_many(20, 0);
    cr_assert_eq(stats().stacks_made, 0);
    cr_assert_eq(stats().stacks_kept, 0);
    end_many(fibers, 20);
    cr_assert_eq(stats().stacks_kept, 20);
    reopen(5, 0);
    fibers = start_many(1, 0);
    cr_assert_eq(stats().stacks_kept, 4, "the next keeps less");
    end_many(fibers, 1);
    close_loop();
}

/* ... and several at a time do. */
Test(stack, many_loops_leave_stacks_behind)
{
    enum { COUNT = 10 };
    struct unr_loop *loops[COUNT];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < COUNT; i++) {
            loops[i] = open_loop_with(0, 0);
            cr_assert_eq(unr_loop_prepare_stacks(loops[i], 100, 64 * KIB), 0);
        }
        for (int i = 0; i < COUNT; i++)
            cr_assert_eq(unr_loop_close(loops[i]), 0);
    }
    close_loop();
}

/* ---- how much is used ---- */

struct depth {
    struct unr_fiber     fiber;
    size_t               size;
    struct unr_stack_use before, deep, after, trimmed;
};

static __attribute__((noinline)) void go_deep(struct unr_stack_use *use)
{
    volatile char deep[128 * KIB];
    for (size_t i = 0; i < sizeof deep; i += 64)
        deep[i] = 1;
    unr_stack_use(use, sizeof *use);
    deep[0] = 2; /* that was no tail call */
}

static int uses_its_stack(void *argument)
{
    struct depth *d = argument;
    char          kept[64];
    unr_stack_use(&d->before, sizeof d->before);
    go_deep(&d->deep);
    unr_stack_use(&d->after, sizeof d->after);
    memset(kept, 0x5a, sizeof kept);
    unr_stack_trim();
    for (size_t i = 0; i < sizeof kept; i++)
        must(kept[i] == 0x5a);
    unr_stack_use(&d->trimmed, sizeof d->trimmed);
    must(unr_yield() == 0);
    go_deep(&d->deep);
    return 0;
}

/* What is used is told, and given back below the frame that asks. */
Test(stack, use_and_trim)
{
    static struct depth d;
    if (SUPPORT_SANITIZED || RUNNING_ON_VALGRIND)
        cr_skip_test("a sanitizer's frames are others");
    unr_start(loop, unr_fiber(&d.fiber, uses_its_stack, &d), NULL, NULL);
    run();
    cr_assert_eq(d.before.size, 256 * KIB);
    cr_assert_geq(d.before.left, 240 * KIB);
    cr_assert_lt(d.before.left, 252 * KIB);
    cr_assert_leq(d.before.touched, 16 * KIB);
    cr_assert_leq(d.deep.left, d.before.left - 128 * KIB);
    cr_assert_geq(d.deep.touched, 128 * KIB);
    cr_assert_eq(d.after.left, d.before.left);
    cr_assert_eq(d.after.touched, d.deep.touched);
    cr_assert_leq(d.trimmed.touched, 16 * KIB, "%zu", d.trimmed.touched);
    cr_assert_eq(d.trimmed.left, d.before.left);
    close_loop();
}

/* A stack that was used far down is trimmed before it is used again. */
Test(stack, what_was_used_deeply_is_trimmed_when_it_is_idle)
{
    static struct depth d;
    if (SUPPORT_SANITIZED || RUNNING_ON_VALGRIND)
        cr_skip_test("a sanitizer's frames are others");
    for (int i = 0; i < 2; i++) {
        unr_start(loop, unr_fiber(&d.fiber, uses_its_stack, &d), NULL, NULL);
        run();
        cr_assert_leq(d.before.touched, 16 * KIB, "%zu", d.before.touched);
    }
    cr_assert_eq(stats().stacks_made, 1);
    close_loop();
}

/* Where pages have 16 or 64 KiB, guards, and what is given back, are whole ones. */
Test(stack_contract, large_pages)
{
    static struct depth     d;
    struct unr_loop_options options = { .size = sizeof options, .fiber_stack = 512 * KIB };
    skip_if_refused();
    if (SUPPORT_SANITIZED || RUNNING_ON_VALGRIND)
        cr_skip_test("a sanitizer's frames are others");
    pages = 64 * KIB;
    cr_assert_eq(unr_loop_open(&loop, &options), 0);
    for (int i = 0; i < 2; i++) {
        unr_start(loop, unr_fiber(&d.fiber, uses_its_stack, &d), NULL, NULL);
        cr_assert_eq(unr_loop_run(loop), 0);
        cr_assert_geq(d.before.left, 440 * KIB);
        cr_assert_lt(d.before.left, 448 * KIB, "a page less is the guard");
        cr_assert_leq(d.before.touched, pages, "%zu", d.before.touched);
        cr_assert_geq(d.deep.touched, 128 * KIB);
        cr_assert_leq(d.trimmed.touched, pages, "%zu", d.trimmed.touched);
    }
    cr_assert_eq(not_whole, 0);
    cr_assert_eq(unr_loop_close(loop), 0);
}

static int asks_in_part(void *argument)
{
    struct {
        struct unr_stack_use use;
        size_t               later;
    } more = { .later = 1 };
    struct unr_stack_use less = { 1, 2, 3 };
    (void)argument;
    unr_stack_use(&less, sizeof less.size);
    cr_assert_eq(less.size, 256 * KIB);
    cr_assert_eq(less.left, 2);
    cr_assert_eq(less.touched, 3);
    unr_stack_use(&more.use, sizeof more);
    cr_assert_eq(more.use.size, 256 * KIB);
    cr_assert_eq(more.later, 0);
    return 0;
}

/* A program that knows less of it, or more, is told what it asks for. */
Test(stack, use_of_another_size)
{
    struct unr_fiber fiber = { 0 };
    unr_start(loop, unr_fiber(&fiber, asks_in_part, NULL), NULL, NULL);
    run();
    close_loop();
}

/* ---- sizes ---- */

static int tells_its_size(void *argument)
{
    struct unr_stack_use use;
    unr_stack_use(&use, sizeof use);
    *(size_t *)argument = use.size;
    *low_end() = 0; /* all of it is there */
    return unr_yield();
}

/* 16 KiB times a power of two, up to 64 MiB; also those of which a slab holds only one. */
Test(stack, sizes)
{
    static const size_t asked[][2] = { { 1, 16 * KIB },
                                       { 16 * KIB, 16 * KIB },
                                       { 16 * KIB + 1, 32 * KIB },
                                       { 0, 64 * KIB },
                                       { 300 * KIB, 512 * KIB },
                                       { 1 << 20, 1 << 20 },
                                       { (1 << 20) + 1, 2 << 20 },
                                       { 4 << 20, 4 << 20 },
                                       { 64 << 20, 64 << 20 } };
    reopen(0, 50 * KIB);
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < LENGTH(asked); i++) {
            struct unr_fiber         fibers[2] = { 0 };
            struct unr_fiber_options options = { .size = sizeof options, .stack = asked[i][0] };
            size_t                   sizes[2] = { 0 };
            for (int j = 0; j < 2; j++)
                unr_start(loop, unr_fiber_with(&fibers[j], tells_its_size, &sizes[j], &options),
                          NULL, NULL);
            run();
            for (int j = 0; j < 2; j++) {
                cr_assert_eq(fibers[j].op.result.error, 0);
                size_t expected = asked[i][1] > smallest() ? asked[i][1] : smallest();
                cr_assert_eq(sizes[j], expected, "%zu: %zu", asked[i][0], sizes[j]);
            }
        }
    close_loop();
}

/* On a processor whose registers take 11 KiB, as with AMX, the smallest has room for them. */
Test(stack_contract, smallest_with_large_signal_frames)
{
    struct unr_fiber         fiber = { 0 };
    struct unr_fiber_options options = { .size = sizeof options, .stack = 1 };
    size_t                   size = 0;
    skip_if_refused();
    if (SUPPORT_SANITIZED)
        cr_skip_test("a sanitizer asks for the size of a frame itself");
    signal_frame = 11 * KIB;
    cr_assert_eq(unr_loop_open(&loop, NULL), 0);
    unr_start(loop, unr_fiber_with(&fiber, tells_its_size, &size, &options), NULL, NULL);
    cr_assert_eq(unr_loop_run(loop), 0);
    cr_assert_eq(size, 32 * KIB, "%zu", size);
    cr_assert_eq(unr_loop_close(loop), 0);
}

Test(stack, loop_option_that_is_too_large)
{
    struct unr_loop_options options = { .size = sizeof options, .fiber_stack = (64 << 20) + 1 };
    struct unr_loop        *opened = NULL;
    cr_assert_eq(unr_loop_open(&opened, &options), -EINVAL);
    cr_assert_null(opened);
    close_loop();
}

static volatile sig_atomic_t handled;

static void large_handler(int number)
{
    volatile char frame[4 * KIB];
    for (size_t i = 0; i < sizeof frame; i += 64)
        frame[i] = (char)number;
    handled++;
}

static int is_interrupted(void *argument)
{
    (void)argument;
    for (int i = 0; i < 3; i++) {
        raise(SIGUSR1);
        must(unr_yield() == 0);
    }
    return 0;
}

/* A handler without SA_ONSTACK runs on the stack of the fiber: there is room for the registers that
 * the kernel saves, and for the handler, on the smallest. */
Test(stack, a_signal_handler_on_the_smallest_stack)
{
    struct unr_fiber         fiber = { 0 };
    struct unr_fiber_options options = { .size = sizeof options, .stack = 1 };
    struct sigaction         action = { .sa_handler = large_handler }, before;
    if (SUPPORT_SANITIZED || RUNNING_ON_VALGRIND)
        cr_skip_test("a sanitizer's frames are others");
    cr_assert_eq(sigaction(SIGUSR1, &action, &before), 0);
    unr_start(loop, unr_fiber_with(&fiber, is_interrupted, NULL, &options), NULL, NULL);
    run();
    cr_assert_eq(fiber.op.result.error, 0);
    cr_assert_eq(handled, 3);
    sigaction(SIGUSR1, &before, NULL);
    close_loop();
}

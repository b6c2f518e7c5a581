# SPDX-License-Identifier: MIT
"""What is in flight on unring's loops, for gdb: of a running process, and of a core.

    info fibers         every fiber: its number, name, state, what it awaits, its stack
    fiber N             shows the frames of fiber N, which waits, behind the present frame: bt, up, info locals
    fiber               shows the frames of the thread again
    unring-ops [LOOP]   every operation in flight on every loop, or on one: name, descriptor, state, what it waits for,
                        what was asked of it, who contains it, and whose `done` it has
"""
import gdb
import gdb.unwinder

# ---- what the library's debugging information has to tell ----


class Missing(gdb.GdbError):
    pass


def struct(name):
    try:
        return gdb.lookup_type("struct " + name)
    except gdb.error:
        raise Missing(
            f"unring: there is no debugging information for struct {name}: the library was stripped, or built "
            "without -g; install its debugging symbols, or link the program with a build that has them"
        )


def variable(name):
    """Link-time optimisation describes a variable twice, once without its place: which of them comes first is chance."""
    for symbol in gdb.lookup_static_symbols(name):
        value = symbol.value()
        if not value.is_optimized_out:
            return value
    raise Missing(
        f"unring: the variable {name} is not known: the library was stripped, or the program does not use it"
    )


def enumerator(name):
    return int(gdb.parse_and_eval(name))


# ---- operations ----

STATES = {"IDLE": "idle", "DESCRIBED": "described", "QUEUED": "queued", "IN_FLIGHT": "in flight",
          "CANCELLING": "cancelling", "FINISHED": "finished", "HELD": "held"}
WAITS = {"TARGET": "its completion", "NOTIF": "its notification", "CANCEL": "its cancel's answer",
         "UNDO": "the undoing of its connect"}
TYPES = ((1, "terminal"), (2, "partial"), (4, "total"))


def state(op):
    value = int(op["private_fields"]["state"])
    for name, words in STATES.items():
        if value == enumerator("UNRI_" + name):
            return words
    return "not an operation"


def has(op, flag):
    return int(op["private_fields"]["flags"]) & enumerator("UNRI_" + flag) != 0


def type_name(op):
    return op["type"]["name"].string() if int(op["type"]) else "?"


def name(op):
    """Composed operations and fibers have a name each, kept where a system call has its offset."""
    plain = type_name(op)
    own = int(op["private_fields"]["offset"])
    if plain not in ("compose", "fiber") or not own:
        return plain
    return gdb.Value(own).cast(gdb.lookup_type("char").pointer()).string()


def symbol_at(address):
    found = gdb.execute(f"info symbol {int(address)}", to_string=True)
    return found.split(" in section")[0] if " in section" in found else hex(int(address))


def words(op):
    text = f"{name(op)}, {state(op)}"
    if has(op, "ON_FD") or has(op, "ON_TWO_FDS"):
        text += f", fd {int(op['private_fields']['fd'])}"
    waits = [what for flag, what in WAITS.items() if has(op, "AWAITS_" + flag)]
    if waits:
        text += ", waits for " + " and ".join(waits)
    requested = int(op["result"]["requested"])
    if requested:
        asked = " or ".join(word for bit, word in TYPES if requested & bit)
        text += f", asked to end ({asked}; cause {int(op['result']['cause'])})"
    return text


def owner(op):
    text = ""
    while has(op, "CHILD"):
        op = op["private_fields"]["combinator"].dereference()
        text += f" in {name(op)} {int(op.address):#x}"
    done = op["private_fields"]["done"]
    return text + (f", done {symbol_at(done)}" if int(done) else ", no done")


# ---- loops ----


def loops():
    whole = variable("unri_loops")
    while int(whole):
        yield whole["core"]
        whole = whole["next_loop"]


def peers(op):
    while int(op):
        yield op.dereference()
        op = op["private_fields"]["peer"]


def in_flight(loop):
    descriptors = loop["descriptors"]
    for i in range(int(descriptors["used"])):
        yield from peers(descriptors["buckets"][i]["first"])
    yield from peers(descriptors["pairs"])
    yield from peers(descriptors["others"])
    timers = loop.address.cast(struct("unri_whole_loop").pointer())["timers"]
    timer_type = struct("unr_timer").pointer()
    for i in range(int(timers["count"])):
        timer = timers["entries"][3 + i]["timer"]
        while int(timer):
            if type_name(timer["op"]) in ("timer", "delay"):
                yield timer["op"]
            queued = int(timer["op"]["private_fields"]["order"]) & 31
            timer = timer["op"]["private_fields"]["next"].cast(timer_type) if queued else gdb.Value(0)


class Ops(gdb.Command):
    """Lists the operations in flight on every loop, or on one: unring-ops [LOOP]"""

    def __init__(self):
        super().__init__("unring-ops", gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        chosen = int(gdb.parse_and_eval(argument)) if argument else None
        for loop in loops():
            if chosen not in (None, int(loop.address)):
                continue
            print(f"loop {int(loop.address):#x}: {int(loop['in_flight'])} in flight"
                  + (", closing" if bool(loop["closing"]) else ""))
            for op in in_flight(loop):
                if not has(op, "HOUSEKEEPING"):
                    print(f"  {int(op.address):#x} {words(op)}{owner(op)}")


# ---- fibers ----


def fibers():
    """Every fiber that has a stack or is about to begin, with its number."""
    pointer = struct("unr_fiber").pointer()
    number = 0
    for loop in loops():
        for op in in_flight(loop):
            if int(op["type"]) and op["type"]["name"].string() == "fiber":
                number += 1
                yield number, op.address.cast(pointer).dereference()


def stack_of(fiber):
    return fiber["private_fields"]["stack"].cast(struct("unri_stack").pointer())


def doing(fiber):
    phase = int(fiber["private_fields"]["sequence"]["phase"])
    if not int(fiber["private_fields"]["stack"]):
        return "has not begun"
    if phase != enumerator("UNRI_WAITING"):
        return "runs"
    child = gdb.Value(int(fiber["op"]["private_fields"]["address"])).cast(struct("unr_op").pointer())
    return f"awaits {words(child.dereference())}"


class InfoFibers(gdb.Command):
    """Lists the fibers of every loop: info fibers"""

    def __init__(self):
        super().__init__("info fibers", gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        for number, fiber in fibers():
            stack = stack_of(fiber)
            where = ""
            if int(stack):
                low = int(stack["context"]["bounds"]["low"])
                where = f", stack {low:#x}-{int(stack):#x}"
            function = symbol_at(fiber["private_fields"]["fn"])
            print(f"{number:4} {int(fiber.address):#x} {name(fiber['op'])} ({function}) {doing(fiber)}{where}")


# Where the switch has put the registers, from the stack pointer that it has kept: lib/fiber/switch_*.S.
X86_64 = {"r15": 8, "r14": 16, "r13": 24, "r12": 32, "rbx": 40, "rbp": 48, "rip": 56}, "rsp", 64
AARCH64 = {"x29": 0, "pc": 8, **{f"x{19 + i}": 16 + 8 * i for i in range(10)}}, "sp", 176


class FrameId:
    def __init__(self, sp, pc):
        self.sp, self.pc = sp, pc


class FiberUnwinder(gdb.unwinder.Unwinder):
    """Goes on from the newest frame of the thread with the frames of the chosen fiber."""

    def __init__(self):
        super().__init__("unring-fiber")
        self.chosen = None  # (stack pointer and address of the newest frame, stack pointer of the fiber)

    def __call__(self, pending):
        if self.chosen is None:
            return None
        newest_sp, newest_pc, kept = self.chosen
        arm = "aarch64" in pending.architecture().name()
        places, sp_name, size = AARCH64 if arm else X86_64
        sp = pending.read_register(sp_name)
        pc = pending.read_register("pc")
        if (int(sp), int(pc)) != (newest_sp, newest_pc):
            return None
        # gdb stops at a frame that lies below the one that it called, so this one counts as the fiber's lowest.
        info = pending.create_unwind_info(FrameId(gdb.Value(kept).cast(sp.type), pc))
        for register, offset in places.items():
            value = gdb.Value(kept + offset).cast(pc.type.pointer() if register in ("rip", "pc")
                                                  else sp.type.pointer())
            info.add_saved_register(register, value.dereference())
        info.add_saved_register(sp_name, gdb.Value(kept + size).cast(sp.type))
        return info


unwinder = FiberUnwinder()


class ChooseFiber(gdb.Command):
    """Shows the frames of a fiber that waits, behind the newest frame of the thread: fiber N.  Without a number: the
thread's own again."""

    def __init__(self):
        super().__init__("fiber", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        unwinder.chosen = None
        gdb.invalidate_cached_frames()
        if not argument:
            return
        wanted = int(gdb.parse_and_eval(argument))
        for number, fiber in fibers():
            if number != wanted:
                continue
            if not int(fiber["private_fields"]["stack"]) or doing(fiber) == "runs":
                raise gdb.GdbError(f"unring: fiber {number} {doing(fiber)}: it has no frames to show")
            newest = gdb.newest_frame()
            arm = "aarch64" in newest.architecture().name()
            sp = int(newest.read_register("sp" if arm else "rsp"))
            kept = int(stack_of(fiber)["context"]["sp"])
            unwinder.chosen = (sp, int(newest.pc()), kept)
            gdb.invalidate_cached_frames()
            print(f"fiber {number}, {name(fiber['op'])}, {doing(fiber)}: its frames begin at frame 1")
            return
        raise gdb.GdbError(f"unring: there is no fiber {wanted}: see info fibers")


gdb.unwinder.register_unwinder(None, unwinder, replace=True)
InfoFibers()
ChooseFiber()
Ops()

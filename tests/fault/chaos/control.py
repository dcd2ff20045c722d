"""The page of memory by which the harness tells shim.c what to do to which program."""
import mmap
import struct

PROGRAMS = ("sweepd", "sweep-worker", "sweep-trainer")
FIELDS = ("kill_point", "kill_after", "disk_fault", "disk_after", "disk_times", "clock_ms", "malloc_after", "malloc_times",
          "n_writes", "n_syncs", "n_sends", "n_mallocs", "n_faults")
MATCH_BYTES = 32
SIZE = 8 * len(FIELDS) + MATCH_BYTES
POINTS = {"before a write": 1, "after a write": 2, "in a write": 3, "before a sync": 4, "after a sync": 5, "before a send": 6, "after a send": 7,
          "in a send": 8, "at a rename": 9}
DISK_FAULTS = {"disk full": 1, "EIO on write": 2, "EIO on sync": 3, "EIO on read": 4}


class Control:
    def __init__(self, path, match):
        self.path = path
        path.write_bytes(b"\0" * SIZE * len(PROGRAMS))
        self.file = open(path, "r+b")
        self.memory = mmap.mmap(self.file.fileno(), 0)
        for number, name in enumerate(PROGRAMS):
            at = number * SIZE + 8 * len(FIELDS)
            self.memory[at:at + MATCH_BYTES] = match[name].encode().ljust(MATCH_BYTES, b"\0")

    def place(self, program, field):
        return PROGRAMS.index(program) * SIZE + 8 * FIELDS.index(field)

    def get(self, program, field):
        return struct.unpack_from("q", self.memory, self.place(program, field))[0]

    def set(self, program, **fields):
        for field, value in fields.items():
            struct.pack_into("q", self.memory, self.place(program, field), value)

    def arm_kill(self, program, point, after):
        self.set(program, kill_point=0)
        self.set(program, kill_after=after)
        self.set(program, kill_point=POINTS[point])

    def break_disk(self, program, fault, after, times):
        self.set(program, disk_after=after, disk_times=times)
        self.set(program, disk_fault=DISK_FAULTS[fault])

    def refuse_memory(self, program, after, times):
        self.set(program, malloc_times=times)
        self.set(program, malloc_after=after)

    def calm(self, *programs):
        for program in programs or PROGRAMS:
            self.set(program, kill_point=0, disk_fault=0, malloc_after=0, malloc_times=0)

    def close(self):
        self.memory.close()
        self.file.close()

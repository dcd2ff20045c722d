"""A line that is no good: bad_line.py LISTEN_ADDRESS PORT TARGET_ADDRESS PORT SEED [delay=S] [jitter=S] [cut=SHARE] [freeze=SHARE]

Passes bytes on without a look into them, so that TLS goes through. Every piece waits for delay and up to jitter more; of the connections
a share is cut (half of them with a reset) and a share is frozen: it stays open, and nothing passes any more, as behind a firewall that forgot it.
Where that happens is drawn among the bytes, in either direction. Tells each such end in a line: `cut up 5310`. SIGUSR1 mends the line for all
connections to come."""
import asyncio
import random
import signal
import socket
import struct
import sys

PIECE = 16384
ASIDE_S = 120  # a frozen connection is held as long


class Line:
    def __init__(self, target, seed, delay=0.0, jitter=0.0, cut=0.0, freeze=0.0):
        # two of them, so that what is drawn for a connection depends on nothing but how many came before it
        self.target, self.draw, self.waits = target, random.Random(seed), random.Random(seed)
        self.delay, self.jitter, self.cut, self.freeze = delay, jitter, cut, freeze

    def mend(self):
        self.delay = self.jitter = self.cut = self.freeze = 0.0

    def fate(self):
        """What becomes of a connection: (what, direction, bytes), or None."""
        drawn = self.draw.random()
        what = "cut" if drawn < self.cut else "frozen" if drawn < self.cut + self.freeze else None
        # handshakes take the first 1 to 3 kB of each direction
        return what and (what, self.draw.choice(("up", "down")), int(self.draw.expovariate(1 / 12000)))

    async def serve(self, reader, writer):
        fate, held = self.fate(), asyncio.Event()
        try:
            there, back = await asyncio.open_connection(*self.target)
        except OSError:
            writer.close()
            return
        up = asyncio.ensure_future(self.pump(reader, back, "up", fate, held))
        down = asyncio.ensure_future(self.pump(there, writer, "down", fate, held))
        done, _ = await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        what = next(iter(done)).result()
        if what:
            print(f"{what} {fate[1]} {fate[2]}", flush=True)
        if what == "frozen":
            await asyncio.sleep(ASIDE_S)
        for task in (up, down):
            task.cancel()
        for end in (writer, back):
            if what == "cut" and fate[2] % 2:
                end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.transport.abort()
            else:
                end.close()

    async def pump(self, reader, writer, way, fate, held):
        """Ends with what ended the connection."""
        left = fate[2] if fate and fate[1] == way else None
        try:
            while data := await reader.read(PIECE):
                if self.delay or self.jitter:
                    await asyncio.sleep(self.delay + self.waits.uniform(0, self.jitter))
                if held.is_set():
                    await asyncio.sleep(ASIDE_S)
                writer.write(data[:left])
                await writer.drain()
                if left is not None:
                    left -= len(data)
                    if left <= 0:
                        held.set()
                        return fate[0]
        except OSError:
            pass
        return None


async def main(address, port, target, target_port, seed, *words):
    line = Line((target, int(target_port)), int(seed), **{name: float(value) for name, value in (word.split("=") for word in words)})
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, line.mend)
    async with await asyncio.start_server(line.serve, address, int(port)) as server:
        print("open", flush=True)
        await server.serve_forever()


asyncio.run(main(*sys.argv[1:]))

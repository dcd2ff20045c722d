"""An HTTP proxy that does to requests what networks do: delays, loses, repeats, reorders them, and cuts connections at every place.

One request a connection to the server, so that what happens to one is nobody else's. Runs in a thread of its own."""
import asyncio
import collections
import random
import threading

FATES = ("delayed", "lost", "cut in the request", "answer lost", "cut in the answer", "sent twice", "comes late", "overtaken")


class Proxy:
    """level: the share of requests that something happens to; 0 = none. url: where clients go."""

    def __init__(self, port, seed):
        self.port, self.draw, self.level = port, random.Random(seed), 0.0
        self.tasks = set()  # tasks: the loop itself would forget them
        self.passed, self.tally = 0, collections.Counter()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.server = asyncio.run_coroutine_threadsafe(asyncio.start_server(self.serve, "127.0.0.1", 0), self.loop).result()
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    def close(self):
        async def end():
            self.server.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    async def serve(self, reader, writer):
        self.tasks.add(asyncio.current_task())
        try:
            while (request := await read_request(reader, writer)) is not None:
                self.passed += 1
                fate = self.draw.choice(FATES) if self.draw.random() < self.level else None
                if fate:
                    self.tally[fate] += 1
                answer = await self.deliver(request, fate)
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
                if fate == "cut in the answer":
                    break
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self.tasks.discard(asyncio.current_task())
            writer.close()

    async def deliver(self, request, fate):
        """What the client gets; None = its connection ends."""
        if fate == "lost":
            return None
        if fate == "comes late":  # when the client has long asked again
            self.loop.call_later(self.draw.uniform(0.1, 3), self.send_late, request)
            return None
        if fate == "cut in the request":
            await self.exchange(request[:self.draw.randrange(len(request))], whole=False)
            return None
        if fate == "delayed":
            await asyncio.sleep(self.draw.uniform(0, 0.4))
        if fate == "overtaken":
            place, patience = self.passed + self.draw.randint(1, 5), 50
            while self.passed < place and patience > 0:
                await asyncio.sleep(0.02)
                patience -= 1
        if fate == "sent twice":
            answers = await asyncio.gather(self.exchange(request), self.exchange(request))
            return self.draw.choice(answers)
        answer = await self.exchange(request)
        if fate == "answer lost" or answer is None:
            return None
        return answer[:self.draw.randrange(len(answer))] if fate == "cut in the answer" else answer

    def send_late(self, request):
        task = self.loop.create_task(self.exchange(request))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def exchange(self, request, whole=True):
        """The server's answer, or None without one."""
        writer = None
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(request)
            await writer.drain()
            return await read_answer(reader) if whole else None
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return None
        finally:
            if writer:
                writer.close()


def length_of(head):
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return 0


async def read_head(reader):
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as end:
        if end.partial:
            raise
        return None


async def read_request(reader, writer):
    head = await read_head(reader)
    if head is None:
        return None
    if b"100-continue" in head.lower():
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        head = b"\r\n".join(line for line in head.split(b"\r\n") if not line.lower().startswith(b"expect:"))
    return head + await reader.readexactly(length_of(head))


async def read_answer(reader):
    head = await read_head(reader)
    while head and head.startswith(b"HTTP/1.1 100"):
        head = await read_head(reader)
    return None if head is None else head + await reader.readexactly(length_of(head))

"""A small HTTP proxy that only knows CONNECT: connect_proxy.py ADDRESS PORT."""
import asyncio
import sys


async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def serve(reader, writer):
    head = await reader.readuntil(b"\r\n\r\n")
    method, target, _ = head.split(b"\r\n")[0].decode().split()
    if method != "CONNECT":
        writer.close()
        return
    host, port = target.rsplit(":", 1)
    print(target, flush=True)
    there, back = await asyncio.open_connection(host, int(port))
    writer.write(b"HTTP/1.1 200 connected\r\n\r\n")
    await asyncio.gather(pump(reader, back), pump(there, writer), return_exceptions=True)


async def main():
    server = await asyncio.start_server(serve, sys.argv[1], int(sys.argv[2]))
    async with server:
        await server.serve_forever()


asyncio.run(main())

/** The command's own RESP client, against a server that says what the test wants, cut where the test wants. */
import { type AddressInfo, createServer, type Server, type Socket } from "node:net"
import { afterEach, expect, it } from "vitest"
import { CliError } from "../../src/cli/CliError.ts"
import { RespClient } from "../../src/cli/RespClient.ts"

const servers: Server[] = []
afterEach(() => {
  for (const server of servers.splice(0)) server.close()
})

/** A port on which `onData` answers what comes. */
const answering = (onData: (text: string, socket: Socket) => void) =>
  new Promise<number>((resolve) => {
    const server = createServer((socket) => {
      socket
        .setEncoding("utf8")
        .on("data", (text: string) => onData(text, socket))
        .on("error", () => {})
    }).listen(0, "127.0.0.1", () => resolve((server.address() as AddressInfo).port))
    servers.push(server)
  })

const connectTo = (port: number, password?: string) => RespClient.connect({ host: "127.0.0.1", port, password })

it.each([
  ["+OK\r\n", "OK"],
  [":-42\r\n", -42],
  ["$-1\r\n", null],
  ["*-1\r\n", null],
  ["$0\r\n\r\n", ""],
  ["$6\r\na\r\nbé\r\n", "a\r\nbé"],
  ["*3\r\n$1\r\na\r\n:1\r\n*2\r\n+x\r\n$-1\r\n", ["a", 1, ["x", null]]],
  ["*0\r\n", []]
])("reads %j, whole and byte by byte", async (bytes, reply) => {
  const whole = await connectTo(await answering((_, socket) => void socket.write(bytes)))
  expect(await whole.send("X")).toEqual(reply)
  whole.close()
  const parts = await connectTo(
    await answering(async (_, socket) => {
      socket.setNoDelay(true)
      for (const byte of Buffer.from(bytes)) {
        socket.write(Buffer.of(byte))
        await new Promise((resolve) => setImmediate(resolve))
      }
    })
  )
  expect(await parts.send("X")).toEqual(reply)
  parts.close()
})

it("sends words as bytes, and says the password first", async () => {
  let received = ""
  const port = await answering((text, socket) => {
    received += text
    socket.write("+OK\r\n")
  })
  const client = await connectTo(port, "geheim")
  await client.send("SET", "k", "é\r\n")
  expect(received).toBe("*2\r\n$4\r\nAUTH\r\n$6\r\ngeheim\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\né\r\n\r\n")
  client.close()
})

it("says how to give the password where the server asks for one", async () => {
  const port = await answering((_, socket) => void socket.write("-NOAUTH Authentication required.\r\n"))
  const client = await connectTo(port)
  await expect(client.send("PING")).rejects.toThrow(
    new CliError(`127.0.0.1:${port} asks for a password: --password or MIMOSA_PASSWORD`)
  )
  client.close()
})

it("gives each of several commands its own answer", async () => {
  const client = await connectTo(await answering((_, socket) => void socket.write(":1\r\n-ERR no\r\n:3\r\n")))
  const answers = await Promise.allSettled([client.send("A"), client.send("B"), client.send("C")])
  expect(answers).toMatchObject([{ value: 1 }, { reason: new CliError("no") }, { value: 3 }])
  client.close()
})

it("fails with one line where the server is none of RESP, closes, or is not there", async () => {
  const http = await connectTo(await answering((_, socket) => void socket.write("HTTP/1.1 400 Bad Request\r\n")))
  await expect(http.send("PING")).rejects.toThrow(/^what answers on 127\.0\.0\.1:\d+ speaks no RESP/)
  const closing = await connectTo(await answering((_, socket) => void socket.end()))
  await expect(closing.send("PING")).rejects.toThrow(/closed the connection$/)
  await expect(closing.send("PING")).rejects.toThrow(/closed the connection$/)
  await expect(connectTo(1)).rejects.toThrow("no server is on 127.0.0.1:1; start one with: mimosa serve --port 1")
})

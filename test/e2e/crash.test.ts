/**
 * DEBUG CRASH on a served Mimosa: every process of its tree is crashed, one after the other, and the server goes on with all
 * that it had.
 */
import { afterAll, beforeAll, expect, it } from "vitest"
import type { Supervisor } from "../../src/actor/index.ts"
import { describeBuilt, mimosa, type Served, serve, temporaryFolder } from "../cli/Mimosa.ts"
import { RawClient } from "../server/RawClient.ts"

type Place = { readonly path: string; readonly node: Supervisor.TreeNode }

/** Every process below a node, with its path below the root. */
const placesBelow = (node: Supervisor.TreeNode, path = ""): Place[] =>
  node.children.flatMap((child) => {
    const own = path === "" ? child.name : `${path}/${child.name}`
    return [{ path: own, node: child }, ...placesBelow(child, own)]
  })

const keysMax = 200

describeBuilt("a served Mimosa whose processes crash", () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>
  let served: Served
  const clients: RawClient[] = []
  beforeAll(async () => {
    folder = await temporaryFolder()
    served = await serve(folder.path, ["--enable-debug-command"])
  })
  afterAll(async () => {
    await Promise.all(clients.map((client) => client.close()))
    await served.stop("SIGKILL")
    await folder.remove()
  })

  /** Connects as soon as somebody listens; while a listener is being restarted nobody does. */
  const connected = async (): Promise<RawClient> => {
    for (;;) {
      try {
        const client = await RawClient.connect(served.port)
        clients.push(client)
        expect(await client.send("PING")).toBe("+PONG\r\n")
        return client
      } catch (error) {
        if (!/ECONNREFUSED|ECONNRESET|closed the connection/.test(String(error))) throw error
      }
    }
  }
  const tree = async (): Promise<Supervisor.TreeNode | undefined> => {
    try {
      const response = await fetch(`http://127.0.0.1:${served.httpPort}/v1/processes`)
      return (await response.json()) as Supervisor.TreeNode
    } catch {
      return undefined // the HTTP listener is the one that crashed
    }
  }
  /** The tree once it is whole and another process has the place of `crashed`. */
  const recovered = async ({ path, node }: Place): Promise<Supervisor.TreeNode> => {
    for (;;) {
      const now = await tree()
      const places = now === undefined ? [] : placesBelow(now)
      const isWhole = places.length > 0 && places.every(({ node }) => node.status === "running")
      const again = places.find((place) => place.path === path)
      if (now !== undefined && isWhole && again !== undefined && again.node.pid !== node.pid) return now
    }
  }

  it("gets each of them back, supervisors too, and loses no key, no trigger and no event", async () => {
    const first = await connected()
    for (let key = 0; key < keysMax; key++) await first.send("SET", `kept:${key}`, String(key))
    const source = "cache.set('seen:' .. event.key, event.value)"
    expect(await first.send("TRIGGER", "SET", "copy", "event:*", "ON_WRITE,ON_EXPIRE", source)).toBe("+OK\r\n")
    await first.send("SET", "event:first", "0")

    const isLasting = ({ path }: Place) => !/connection \d+$|GET /.test(path)
    const places = placesBelow((await tree()) as Supervisor.TreeNode).filter(isLasting)
    const paths = places.map(({ path }) => path)
    expect(paths).toEqual(
      expect.arrayContaining(["journal", "sandbox/trigger workers/triggers 1", "listeners/resp/listener"])
    )
    for (const [at, path] of paths.entries()) {
      const client = await connected()
      const before = placesBelow((await tree()) as Supervisor.TreeNode).find((place) => place.path === path) as Place
      expect([path, await client.send("DEBUG", "CRASH", path)]).toEqual([path, "+OK\r\n"])
      await recovered(before)
      const after = await connected()
      expect(await after.send("SET", `event:${path}`, String(at))).toBe("+OK\r\n")
      expect(await after.send("GET", `seen:event:${path}`)).toBe(`$${String(at).length}\r\n${at}\r\n`)
    }

    const client = await connected()
    const values = await client.pipeline(Array.from({ length: keysMax }, (_, key) => ["GET", `kept:${key}`]))
    expect(values).toEqual(Array.from({ length: keysMax }, (_, key) => `$${String(key).length}\r\n${key}\r\n`))
    expect(await client.send("TRIGGER", "LIST")).toContain("copy")
    const last = placesBelow((await tree()) as Supervisor.TreeNode).filter(isLasting)
    expect(last.map(({ path }) => path)).toEqual(paths)
  })

  it("says in the tree and in the log that a command did it", async () => {
    const client = await connected()
    const scheduler = placesBelow((await tree()) as Supervisor.TreeNode).find(
      ({ path }) => path === "scheduler"
    ) as Place
    await client.send("CLIENT", "SETNAME", "tester")
    await client.send("DEBUG", "CRASH", "scheduler")
    const after = placesBelow(await recovered(scheduler)).find(({ path }) => path === "scheduler") as Place
    expect(after.node.lastExit).toMatch(
      /^crash: CrashedByCommand: DEBUG CRASH scheduler, sent by client \d+ \(tester\)$/
    )
    expect(served.stderr()).toContain('"msg":"process crashed","error":"CrashedByCommand: DEBUG CRASH scheduler')
  })

  it("closes a connection whose own process is crashed, after its answer, and no other", async () => {
    const [own, other] = [await connected(), await connected()]
    const id = (await own.send("CLIENT", "ID")).slice(1).trim()
    expect(await own.send("DEBUG", "CRASH", "connection", id)).toBe("+OK\r\n")
    await own.closed
    expect(await other.send("GET", "kept:1")).toBe("$1\r\n1\r\n")
  })

  it("refuses the root, names that are none or several, and does nothing", async () => {
    const client = await connected()
    expect(await client.send("DEBUG", "CRASH", "mimosa")).toMatch(/^-ERR 'mimosa' is the root, above which nobody/)
    expect(await client.send("DEBUG", "CRASH", "no such")).toMatch(
      /^-ERR no process is called 'no such'; mimosa top shows/
    )
    expect(await client.send("PING")).toBe("+PONG\r\n")
  })

  it("ends in order all the same", async () => {
    expect(await served.stop()).toBe(0)
    expect((await mimosa(["ping", "--port", String(served.port)])).code).toBe(1)
  })
})

describeBuilt("a served Mimosa without --enable-debug-command", () => {
  it("refuses DEBUG in Redis' words", async () => {
    const folder = await temporaryFolder()
    const served = await serve(folder.path)
    const client = await RawClient.connect(served.port)
    expect(await client.send("DEBUG", "CRASH", "scheduler")).toMatch(
      /^-ERR DEBUG command not allowed: start the server with --enable-debug-command\r\n$/
    )
    expect(await client.send("CONFIG", "GET", "enable-debug-command")).toContain("no")
    await client.close()
    await served.stop()
    await folder.remove()
  })
})

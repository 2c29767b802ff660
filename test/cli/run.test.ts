/** `mimosa run`: a script's function, here and on a served process. */
import { execFile } from "node:child_process"
import { writeFile } from "node:fs/promises"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { describeBuilt, mimosa, type Served, serve, temporaryFolder } from "./Mimosa.ts"

const example = (name: string) => fileURLToPath(new URL(`../../examples/lua/tenants/${name}.lua`, import.meta.url))

describeBuilt("mimosa run", () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>
  beforeAll(async () => {
    folder = await temporaryFolder()
  })
  afterAll(() => folder.remove())

  const written = async (name: string, source: string): Promise<string> => {
    const path = join(folder.path, name)
    await writeFile(path, source)
    return path
  }

  describe("here", () => {
    it("prints what the function returns as JSON, several runs over one cache", async () => {
      const { code, stdout, stderr } = await mimosa(["run", example("user-count"), "--repeat", "3"])
      expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: "1\n2\n3\n", stderr: "" })
    })

    it("takes a function's name, arguments as JSON or text, globals and a seed", async () => {
      const path = await written(
        "given.lua",
        "function check(...) print('seen', ...) return { n = select('#', ...), args = { ... }, key = key, r = math.random(1000) } end"
      )
      const args = ["--arg", "1", "--arg", "1.0", "--arg", "ada", "--arg", '{"a":[true]}', "--env", "key=secret"]
      const first = await mimosa(["run", path, "check", ...args, "--seed", "7"])
      expect(first.code).toBe(0)
      expect(first.stderr).toMatch(/^seen\t1\t1\.0\tada\ttable: /)
      expect(first.stdout).toContain('"args":[1,1.0,"ada",{"a":[true]}]')
      expect(JSON.parse(first.stdout)).toMatchObject({ n: 4, key: "secret" })
      expect((await mimosa(["run", path, "check", ...args, "--seed", "7"])).stdout).toBe(first.stdout)
    })

    it("calls a script that comes through a pipe 'script', as it has no name of its own", async () => {
      const [pipe, source] = [join(folder.path, "63"), "function main() error('boom') end"]
      await promisify(execFile)("mkfifo", [pipe])
      const [throughPipe] = await Promise.all([mimosa(["run", pipe]), writeFile(pipe, source)])
      for (const { code, stderr } of [throughPipe, await mimosa(["run", "-"], { stdin: source })]) {
        expect([code, stderr]).toEqual([1, expect.stringContaining("mimosa: script:1: boom\n")])
      }
    })

    it("reads the script from stdin", async () => {
      const { stdout } = await mimosa(["run", "-"], { stdin: "function main() return '\\195\\164' end" })
      expect(stdout).toBe('"ä"\n')
    })

    it("reaches the hosts that it is told to, and no other", async () => {
      const server = createServer((_request, response) => response.end(JSON.stringify({ name: "Alice" })))
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
      const api = `127.0.0.1:${(server.address() as AddressInfo).port}`
      const args = [example("api-cache"), "--arg", "7", "--env", `api_url=http://${api}`, "--env", "api_token=t"]
      const allowed = await mimosa(["run", ...args, "--http-allow", api, "--egress-allow", api])
      const refused = await mimosa(["run", ...args])
      server.close()
      expect(JSON.parse(allowed.stdout)).toEqual({ source: "api", user: { name: "Alice" } })
      expect(JSON.parse(refused.stdout)).toMatchObject({ error: expect.stringContaining("--http-allow") })
    })

    it.each([
      ["function main( return 1 end", "bad.lua:1:16: <name> or '...' expected near 'return'"],
      ["\nfunction main() error('no') end", "bad.lua:2: no"],
      ["function other() end", "bad.lua: there is no function 'main'; it defines other"],
      ["function main() while true do end end", "stopped after 50 ms of computing, its limit (computeMs)"],
      ["function main() return print end", "bad.lua: result is a function"]
    ])("ends with 1 and says why: %j", async (source, why) => {
      const { code, stdout, stderr } = await mimosa(["run", await written("bad.lua", source)])
      expect({ code, stdout }).toEqual({ code: 1, stdout: "" })
      expect(stderr).toContain(why)
    })

    it.each([
      [["run", "/nowhere.lua"], "cannot read /nowhere.lua"],
      [["run", "-", "--env", "x"], "--env is name=value, not 'x'"],
      [["run", "-", "--env", "cache=1"], "env.cache cannot be named so"],
      [["run", "-", "--prefix", "a b"], "prefix"],
      [["run", "-", "--tenant", "t", "--seed", "1"], "--env, --seed and --repeat are for runs here"]
    ])("says what is wrong with %j", async (args, why) => {
      const { code, stderr } = await mimosa(args, { stdin: "function main() end" })
      expect(code).toBe(1)
      expect(stderr).toContain(why)
    })
  })

  describe("on a server", () => {
    let data: Awaited<ReturnType<typeof temporaryFolder>>
    let served: Served
    beforeAll(async () => {
      data = await temporaryFolder()
      served = await serve(data.path)
    })
    afterAll(async () => {
      await served.stop()
      await data.remove()
    })

    it("runs for a tenant over its cache, and shows what the script printed and was refused", async () => {
      const port = ["--port", String(served.port)]
      const absent = await mimosa(["run", example("user-count"), "--tenant", "acme", ...port])
      expect([absent.code, absent.stderr]).toEqual([1, expect.stringContaining("no tenant has the id 'acme'")])
      await mimosa(["shell", ...port], { stdin: "TENANT CREATE acme" })
      for (const count of [1, 2]) {
        expect((await mimosa(["run", example("user-count"), "--tenant", "acme", ...port])).stdout).toBe(`${count}\n`)
      }
      const path = await written("says.lua", "function main(x) print('said', x) return cache.put('f', print) end")
      const { stdout, stderr } = await mimosa(["run", path, "--tenant", "acme", "--arg", "1.0", ...port])
      expect(stdout).toBe("false\n")
      expect(stderr).toBe("said\t1.0\ncache.put: argument 2 is a function\n")
    }, 30_000) // six processes
  })
})

/**
 * A session ends, nobody looks at it, and a webhook tells: the TTL alone makes the trigger run.
 */
import { readFile } from "node:fs/promises"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { Mimosa } from "mimosa-cache/promise"

// Somebody who wants to know: an HTTP server on this machine.
const shop = createServer()
await new Promise<void>((resolve) => void shop.listen(0, "127.0.0.1", resolve))
const hook = `http://127.0.0.1:${(shop.address() as AddressInfo).port}/session-ended`
const told = new Promise<{ id: string; body: unknown }>((resolve) => {
  shop.on("request", async (request, response) => {
    const body = Buffer.concat(await request.toArray()).toString()
    response.writeHead(204).end()
    resolve({ id: String(request.headers["webhook-id"]), body: JSON.parse(body) })
  })
})

// Webhooks go to public addresses only; this one is private, so it has to be allowed.
const cache = new Mimosa({ egressAllow: ["127.0.0.1"] })
await cache.trigger({
  name: "session-ended",
  pattern: "session:*",
  events: ["ON_EXPIRE"],
  source: await readFile(new URL("lua/session-ended.lua", import.meta.url), "utf8")
})

await cache.set("session:42", "ada", { ttl: "50 millis", metadata: { hook } })
console.log("a session with 50 ms to live is stored; from here on nobody touches it")

const { id, body } = await told
console.log("the webhook: ", body)
console.log("its id:      ", /^[0-9a-f]{16}-\d+-session-ended-1$/.test(id) ? "stable, for dropping repeats" : id)
console.log("the session: ", (await cache.get("session:42")) ?? "gone")

await cache.close()
shop.close()

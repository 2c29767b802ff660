import { existsSync } from "node:fs"
import { connect } from "@nats-io/transport-node"
import { expect, it } from "vitest"
import { describeWithNats } from "./describeWith.ts"
import { startNats } from "./Nats.ts"
import * as Port from "./Port.ts"

describeWithNats("a real NATS for tests", () => {
  it("serves a client on the port it was given, with the configuration it was given", async () => {
    const port = await Port.free()
    const server = await startNats({ port, config: "max_payload: 2048" })
    try {
      expect(server.url).toBe(`nats://127.0.0.1:${port}`)
      const client = await connect({ servers: server.url })
      expect(client.info?.max_payload).toBe(2_048)
      await client.close()
    } finally {
      await server.stop()
    }
  })

  it("says in its own words why it does not start", async () => {
    await expect(startNats({ config: "max_payload: [" })).rejects.toThrow(/nats-server ended before it was ready/)
  })

  it("is gone after stop, with its process and its folder", async () => {
    const server = await startNats()
    const folder = /configuration file: (.*)\/nats\.conf/.exec(server.log())?.[1] as string
    expect(existsSync(folder)).toBe(true)
    await server.stop()
    await server.stop()
    expect(() => process.kill(server.pid, 0)).toThrow(/ESRCH/)
    expect(existsSync(folder)).toBe(false)
  })
})

/** A real NATS server to carry frames, and to compare with. */
import { writeFile } from "node:fs/promises"
import { join } from "node:path"
import { type Started, start } from "./Started.ts"

export interface NatsServer extends Started {
  readonly url: string
}

export interface NatsOptions {
  /** Default: a free one. */
  readonly port?: number
  /** Lines of the server's configuration file. */
  readonly config?: string
}

/** Starts a nats-server, which persists nothing. */
export const startNats = async ({ port, config = "" }: NatsOptions = {}): Promise<NatsServer> => {
  const started = await start(
    {
      name: "nats-server",
      args: async (folder, port) => {
        const file = join(folder, "nats.conf")
        await writeFile(file, config)
        return ["--config", file, "--addr", "127.0.0.1", "--port", String(port)]
      },
      ready: "Server is ready",
      taken: "address already in use"
    },
    port
  )
  return { ...started, url: `nats://127.0.0.1:${started.port}` }
}

/** `mimosa ping` */
import type { Address } from "./Address.ts"
import { print } from "./print.ts"
import { withClient } from "./RespClient.ts"

export interface ClientOptions extends Address {
  readonly password: string | undefined
  readonly json: boolean
  /** The tenant as whom it acts; left out or undefined: as an operator. */
  readonly tenant?: string | undefined
}

export const ping = (options: ClientOptions): Promise<void> =>
  withClient(options, async (client) => {
    const beganMs = performance.now()
    const answer = await client.send("PING")
    const ms = performance.now() - beganMs
    print(options.json ? { answer, ms } : `${answer} from ${options.host}:${options.port} in ${ms.toFixed(1)} ms`)
  })

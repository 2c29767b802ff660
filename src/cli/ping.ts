/** `mimosa ping` */
import { Effect } from "effect"
import { type Address, connect } from "./Client.ts"
import { print } from "./print.ts"

export const ping = ({ json, ...address }: Address & { readonly json: boolean }) =>
  Effect.gen(function* () {
    const send = yield* connect(address)
    const beganMs = performance.now()
    const answer = yield* send("PING")
    const ms = performance.now() - beganMs
    print(json ? { answer, ms } : `${answer} from ${address.host}:${address.port} in ${ms.toFixed(1)} ms`)
  }).pipe(Effect.scoped)

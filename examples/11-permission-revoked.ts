/**
 * A permission is revoked and a session ended by one process, and when that has returned the other lets nobody in any
 * more: `ackMode: "live"` comes back when all that live have applied it.
 */
import { Mimosa } from "mimosa-cache/promise"
import { answer, isSecond, namespace, startSecond } from "./two.ts"

const cache = new Mimosa({ namespace, coherence: { ackMode: "live" } }) // for all of its writes
await cache.ready

if (isSecond) {
  // The service that guards the documents, with a copy of every permission that it has looked at.
  await cache.trigger({
    name: "ended",
    pattern: "session:*",
    events: ["ON_DELETE"],
    source: 'cache.emit("ended", event.key .. ", " .. event.cause .. " by " .. event.origin)'
  })
  const heard: string[] = []
  cache.on("ended", (message) => heard.push(message))
  const mayRead = async (user: string, document: string) =>
    (await cache.get(`session:${user}`)) !== undefined && (await cache.get(`permission:${user}:${document}`)) === "read"
  await answer({ mayRead, heard: () => heard.join() })
} else {
  // The administration.
  const guard = startSecond(import.meta.url)
  await cache.coherence.untilMembers(1)
  await cache.set("session:eve", { since: "today" }, { ttl: "1 hour" })
  await cache.set("permission:eve:plans", "read")
  await cache.set("permission:eve:menu", "read")

  console.log("eve reads the plans:", await guard.ask("mayRead", "eve", "plans"))
  await cache.del("permission:eve:plans")
  console.log("revoked:            ", await guard.ask("mayRead", "eve", "plans"))
  console.log("eve reads the menu: ", await guard.ask("mayRead", "eve", "menu"))
  await cache.del("session:eve")
  console.log("logged out:         ", await guard.ask("mayRead", "eve", "menu"))
  const { name } = await cache.coherence.status()
  console.log("its trigger heard:  ", String(await guard.ask("heard")).replace(name, "this instance"))
  await guard.end()
}
await cache.close()

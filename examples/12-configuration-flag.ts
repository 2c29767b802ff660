/**
 * A configuration flag that is switched in one process and acts in the other without being polled: the write takes the
 * other's copy away, and a trigger there tells its program.
 */
import { once } from "node:events"
import { Mimosa } from "mimosa-cache/promise"
import { answer, isSecond, namespace, startSecond } from "./two.ts"

const cache = new Mimosa({ namespace })
await cache.ready

if (isSecond) {
  const changes = new EventTarget()
  await cache.trigger({
    name: "flags",
    pattern: "flag:*",
    events: ["ON_DELETE", "ON_WRITE"],
    source: 'cache.emit("flag", event.key)'
  })
  let flag = await cache.get("flag:dark-mode")
  let reads = 1
  cache.on("flag", async (key) => {
    flag = await cache.get(key)
    reads++
    changes.dispatchEvent(new Event("change"))
  })
  const afterChange = async () => {
    if (flag !== true) await once(changes, "change")
    return flag
  }
  await answer({ flag: () => flag, afterChange, reads: () => reads })
} else {
  await cache.set("flag:dark-mode", false)
  const worker = startSecond(import.meta.url)
  await cache.coherence.untilMembers(1)
  console.log("the worker starts with: ", await worker.ask("flag"))
  await cache.set("flag:dark-mode", true) // nobody waits for anybody here
  console.log("without asking it knows:", await worker.ask("afterChange"))
  console.log("it has read the flag:   ", await worker.ask("reads"), "times")
  await worker.end()
}
await cache.close()

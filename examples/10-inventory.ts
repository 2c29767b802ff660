/**
 * Pages of a shop that show stock: the warehouse, another process, changes the stock and invalidates by tag whatever
 * was made of it. A page that is being made at that moment is shown to who waits for it, and not kept.
 */
import { Mimosa } from "mimosa-cache/promise"
import { answer, isSecond, namespace, startSecond } from "./two.ts"

const cache = new Mimosa({ namespace })
await cache.ready

if (isSecond) {
  // The shop. What it reads of the stock is told with each question, as its database would.
  let database = 0
  let hold: Promise<void> | undefined
  let letGo = () => {}
  let made = 0
  const load = async () => {
    const stock = database
    await hold
    made++
    return `page of the lamp: ${stock} left`
  }
  const page = (stock: number) => {
    database = stock
    return cache.getOrSet("page:lamp", load, { tags: ["stock:lamp"] })
  }
  let slow: Promise<unknown> = Promise.resolve()
  const beginSlowly = (stock: number) => {
    hold = new Promise((resolve) => {
      letGo = resolve
    })
    slow = page(stock)
  }
  const finish = async () => {
    hold = undefined
    letGo()
    return slow
  }
  await answer({ page, beginSlowly, finish, count: () => made })
} else {
  // The warehouse.
  const shop = startSecond(import.meta.url)
  await cache.coherence.untilMembers(1)
  const changed = () => cache.invalidateTags(["stock:lamp"], { ackMode: "live" })

  console.log("shown:  ", await shop.ask("page", 5))
  console.log("again:  ", await shop.ask("page", 5), "- made so far:", await shop.ask("count"))
  await changed()
  console.log("sold:   ", await shop.ask("page", 4), "- made so far:", await shop.ask("count"))

  await changed()
  await shop.ask("beginSlowly", 3)
  await changed() // one more is sold while the page is being made
  console.log("late:   ", await shop.ask("finish"))
  console.log("next:   ", await shop.ask("page", 2))
  await shop.end()
}
await cache.close()

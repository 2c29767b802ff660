/**
 * Customers' programs over one cache: two tenants run the same script, each over keys, values and limits of its own, and
 * what one of them does wrong costs that run alone.
 */
import { readFile } from "node:fs/promises"
import { Mimosa, type MimosaTenant, ScriptTimeout } from "mimosa-cache/promise"

const mimosa = new Mimosa()
const source = await readFile(new URL("lua/visits.lua", import.meta.url), "utf8")
const script = await mimosa.scripts.compile(source, { name: "visits.lua" })
console.log("compiled:", script.functions.join(", "))

const acme = await mimosa.tenants.create({ id: "acme", limits: { computeMs: 20 } })
const globex = await mimosa.tenants.create({ id: "globex" })
await acme.setEnv("greeting", "Hello")
await globex.setEnv("greeting", "¡Hola!")

// A tenant's triggers see its own keys, and its channels are its own.
await acme.trigger({
  name: "regular",
  pattern: "visits:*",
  events: ["ON_WRITE"],
  source: 'if event.value == 2 then cache.emit("regular", event.key) end'
})
acme.on("regular", (key) => console.log("acme:    a regular,", key))
globex.on("regular", (key) => console.log("globex:  nobody ever hears this:", key))

// A function of this program that scripts may call; it may answer later.
let tickets = 0
const ticket = async () => ++tickets

const visit = async ({ id, prefix }: MimosaTenant, name: string) =>
  console.log(`${id}:`.padEnd(8), await script.runMain([name], { cachePrefix: prefix, functions: { ticket } }))
await visit(acme, "ada")
await visit(acme, "ada")
await visit(globex, "ada")
await visit(globex, "joe")

const seen = async (key: string) => [await acme.get(key), await globex.get(key), await mimosa.get(key)]
console.log("visits:ada of acme, globex and nobody:", await seen("visits:ada"))
console.log("visits:joe of acme, globex and nobody:", await seen("visits:joe"))

const error = await script.run("report", [], { cachePrefix: acme.prefix }).catch((error: unknown) => error)
if (error instanceof ScriptTimeout) console.log(`stopped:  line ${error.line}, ${error.kind} for ${error.limitMs} ms`)
const [failure] = (await acme.scripts.log()).at(-1)?.text.split("\n") ?? [] // the lines below are the traceback
console.log("logged:  ", failure)
await visit(acme, "ada")

await mimosa.close()

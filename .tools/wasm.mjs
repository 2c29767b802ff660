// Makes dist/wasm from the installed wasmoon: its Lua with a meter in every loop, and the shim that runs beside it.
//
// What is metered, and why it suffices: code that goes on must come back to a loop head or copy memory (recursion is
// bounded by Lua's own limit of C calls). Each loop head takes one unit of fuel, each bulk copy one unit for 32 bytes,
// and where fuel runs out the host is asked. test/sandbox/wasm.test.ts takes the result apart and proves it.
//
// The text form with generated names is edited, so that an added import shifts no index.

import { createHash } from "node:crypto"
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

const here = fileURLToPath(import.meta.url)
const root = join(dirname(here), "..")
const folder = join(root, "dist", "wasm")
const stamp = join(folder, ".inputs")
const glue = join(dirname(createRequire(import.meta.url).resolve("wasmoon")), "glue.wasm")
const shim = join(root, "src", "sandbox", "shim.wat")

/** Writes `dist/wasm/lua.wasm` and `dist/wasm/shim.wasm`. Does nothing when they were made from these very inputs. */
export const buildWasm = async () => {
  const inputs = hashOf([here, glue, shim])
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === inputs) return
  const { default: load } = await import("wabt")
  const wabt = await load()
  mkdirSync(folder, { recursive: true })
  replace(join(folder, "lua.wasm"), assemble(wabt, "lua.wat", meter(disassemble(wabt, readFileSync(glue)))))
  replace(join(folder, "shim.wasm"), assemble(wabt, "shim.wat", readFileSync(shim, "utf8")))
  replace(stamp, inputs)
}

/** In one step, so that whoever reads at the same time sees the old file or the new one. */
const replace = (path, content) => {
  const fresh = `${path}.${process.pid}`
  writeFileSync(fresh, content)
  renameSync(fresh, path)
}

/** The features that wasmoon's build uses; wabt refuses all others. */
export const features = {
  bulk_memory: true,
  sign_extension: true,
  sat_float_to_int: true,
  mutable_globals: true,
  multi_value: true,
  reference_types: true
}

/** A module as text, one instruction a line, every function, type and label under a name. */
export const disassemble = (wabt, bytes) => {
  const wasm = wabt.readWasm(new Uint8Array(bytes), { readDebugNames: true, ...features })
  wasm.generateNames()
  wasm.applyNames()
  const text = wasm.toText({ foldExprs: false, inlineExport: false })
  wasm.destroy()
  return text
}

const assemble = (wabt, name, text) => {
  const wasm = wabt.parseWat(name, text, features)
  wasm.resolveNames()
  wasm.validate(features)
  const { buffer } = wasm.toBinary({})
  wasm.destroy()
  return buffer
}

const exhaustedImport = '  (import "meter" "exhausted" (func $exhausted))'

const fuelGlobal = '  (global $fuel (export "fuel") (mut i32) (i32.const 2147483647))'

/** Takes the units on the stack, and asks the host when none are left. */
const spendFunction = `  (func $spend (param $units i32)
    global.get $fuel
    local.get $units
    i32.sub
    global.set $fuel
    global.get $fuel
    i32.const 0
    i32.lt_s
    if
      call $exhausted
    end)`

const bulkFunction = (operation) => `  (func $metered.${operation} (param $to i32) (param $what i32) (param $bytes i32)
    local.get $bytes
    i32.const 5
    i32.shr_u
    call $spend
    local.get $to
    local.get $what
    local.get $bytes
    memory.${operation})`

/** At a loop head the same is written out: a call there would cost more than the check. */
const loopCheck =
  " global.get $fuel i32.const 1 i32.sub global.set $fuel global.get $fuel i32.const 0 i32.lt_s if call $exhausted end"

const meter = (text) => {
  const metered = text
    .split("\n")
    .map((line) => (/^\s*loop\b/.test(line) ? line + loopCheck : line))
    .map((line) => line.replace(/^(\s*)memory\.(copy|fill)\b/, "$1call $metered.$2"))
  insertAfter(metered, metered.findLastIndex(startsWith("  (import")), exhaustedImport)
  insertAfter(metered, metered.findIndex(startsWith("  (global")) - 1, fuelGlobal)
  const functions = [spendFunction, bulkFunction("copy"), bulkFunction("fill")]
  insertAfter(metered, metered.findIndex(startsWith("  (func")) - 1, ...functions)
  return metered.join("\n")
}

const startsWith = (start) => (line) => line.startsWith(start)

const insertAfter = (lines, index, ...added) => void lines.splice(index + 1, 0, ...added)

const hashOf = (paths) => {
  const hash = createHash("sha256")
  for (const path of paths) hash.update(readFileSync(path))
  return hash.digest("hex")
}

if (process.argv[1] === here) await buildWasm()

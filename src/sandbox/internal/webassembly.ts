/** The part of WebAssembly's JavaScript interface that is used here; its types come with the DOM, which we do not have. */

export interface WasmMemory {
  readonly buffer: ArrayBuffer
}

export interface WasmTable {
  get(index: number): CallableFunction
  set(index: number, value: CallableFunction): void
  grow(by: number): number
}

/** A compiled module; opaque. */
export interface WasmModule {
  readonly [brand]: true
}

export type WasmImports = Readonly<Record<string, object>>

export const WebAssembly = (globalThis as unknown as { readonly WebAssembly: Interface }).WebAssembly

interface Interface {
  readonly Module: new (bytes: Uint8Array) => WasmModule
  readonly Instance: new (module: WasmModule, imports: WasmImports) => { readonly exports: object }
  readonly RuntimeError: new (message?: string) => Error
}

declare const brand: unique symbol

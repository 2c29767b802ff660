/** A record's op and flags share a byte, on the wire and in the rings: the op in the lower six bits. */
export const opOf = (byte: number): number => byte & 0x3f
export const flagsOf = (byte: number): number => byte & 0xc0

/** Sizes of rings and tables are powers of two: a place in them is found by a mask. */
export const checkPowerOfTwo = (name: string, size: number): void => {
  if (Number.isInteger(size) && size >= 1 && size <= 2 ** 30 && (size & (size - 1)) === 0) return
  throw new RangeError(`${name} is ${size}; use a power of two from 1 to 2^30`)
}

/** Content that tells its version and whether it is whole: the version's number again and again, up to 1 MB. */
export const versionContent = (version: number): Uint8Array =>
  Buffer.from(`${version}\n`.repeat(1 + ((version * 7919) % 150_000)))

/** What files and directories need beyond Node's own functions, so that they survive a crash of the machine. */
import * as fs from "node:fs/promises"
import { dirname } from "node:path"

export const writeSynced = async (path: string, content: Uint8Array): Promise<void> => {
  const file = await fs.open(path, "w", 0o600) // what a cache holds is its owner's
  try {
    await file.writeFile(content)
    await file.sync()
  } finally {
    await file.close()
  }
}

export const syncDirectory = async (path: string): Promise<void> => {
  if (process.platform === "win32") return // directories cannot be opened there; NTFS journals the rename
  const directory = await fs.open(path, "r")
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

/**
 * `mkdir -p`, readable by its owner alone. Not by Node's `recursive`: that never returns where a directory exists in
 * which none can be made and the system calls it ENOENT (`/proc`).
 */
export const makeDirectory = async (path: string): Promise<void> => {
  try {
    await fs.mkdir(path, { mode: 0o700 })
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === "EEXIST" && (await fs.stat(path)).isDirectory()) return
    const parent = dirname(path)
    if (code !== "ENOENT" || (await isThere(parent))) throw error
    await makeDirectory(parent)
    await makeDirectory(path)
  }
}

const isThere = (path: string): Promise<boolean> =>
  fs.access(path).then(
    () => true,
    () => false
  )

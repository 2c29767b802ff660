import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"

export default defineConfig({
  root: fileURLToPath(new URL("..", import.meta.url)),
  test: {
    include: ["test/**/*.test.ts"],
    setupFiles: ["test/support/fastCheck.ts"],
    pool: "forks", // a process a file: what a test does to its VMs, its heap and its children stays there
    testTimeout: 30_000, // ms; far above what any test needs on two busy cores, so only a hang meets it
    hookTimeout: 60_000 // ms; hooks start real servers
  }
})

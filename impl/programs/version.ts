/** What `--version` says; that of package.json, which a program in one file does not find beside itself. */
export const VERSION = '0.1.0'

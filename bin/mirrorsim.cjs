#!/usr/bin/env node
// Runs the built program where there is one (npm run build), and the sources otherwise.
'use strict'
const fs = require('node:fs')
const path = require('node:path')

const built = path.join(__dirname, '../dist/impl/programs/mirrorsim.js')
if (fs.existsSync(built)) {
  require(built)
} else {
  require('../scripts/tsreg.cjs')
  require('../impl/programs/mirrorsim.ts')
}

/** Commands that change an image end well only if all that they have changed could be written. */
import { execFileSync, spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'qemu-img-close-'))
test.after(() => fs.rmSync(folder, { recursive: true, force: true }))
const PROGRAM = path.resolve(__dirname, '../../../bin/mirrorsim.cjs')
/** The image over a file that can be written, but not flushed. */
const UNFLUSHED = [
  'driver=qcow2,file.driver=blkdebug,file.image.driver=file,file.image.filename=image',
  'file.inject-error.0.event=none,file.inject-error.0.iotype=flush,file.inject-error.0.errno=5',
].join(',')

for (const [name, args] of [
  ['bitmap', ['img', 'bitmap', '--add', '--image-opts', UNFLUSHED, 'b']],
  ['io', ['io', '--image-opts', UNFLUSHED, '-c', 'write 2M 64k']],
] as const) {
  test(`${name}: an error of the last flush is an error of the command`, () => {
    execFileSync(PROGRAM, ['img', 'create', '-q', '-f', 'qcow2', 'image', '8M'], { cwd: folder })
    const { status, stderr } = spawnSync(PROGRAM, args, { cwd: folder, encoding: 'utf8' })
    assert.match(stderr, /^qemu-(img|io): Could not flush the image: Input\/output error\n$/)
    assert.is(status, 1)
  })
}

test.run()

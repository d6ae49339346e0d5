import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { sampleReport } from '../testing'
import { pageOf } from './document'

const report = { ...sampleReport, failure: { ...sampleReport.failure, text: 'a </script><b>bold</b> "claim" & more' } }
const page = pageOf({
  data: { report, neighbour: null, command: 'npm run replay -- <file>' },
  style: 'p { margin: 0 }',
  scripts: ['const end = "</script>"', 'const comment = "<!--"'],
})

test('the failure stands in the page as text, before any script', () => {
  const words = page.slice(0, page.indexOf('<script'))
  assert.ok(words.includes('a &#60;/script&#62;&#60;b&#62;bold&#60;/b&#62; &#34;claim&#34; &#38; more'))
  assert.ok(words.includes(report.failure.key))
  assert.ok(words.includes('npm run replay -- &#60;file&#62;'))
})

test('nothing in a report or a script ends its element', () => {
  assert.is(page.match(/<\/script>/g)?.length, 3)
  assert.is(page.match(/<script/g)?.length, 3)
  assert.not.ok(page.includes('<!--'))
})

test('the report can be read out of the page', () => {
  const json = /<script type="application\/json" id="data">(.*?)<\/script>/s.exec(page)![1]!
  assert.equal(JSON.parse(json).report, JSON.parse(JSON.stringify(report)))
})

test('the page may load nothing', () => {
  assert.ok(page.includes("default-src 'none'"))
  assert.not.match(page, /(src|href)=/)
})

test.run()

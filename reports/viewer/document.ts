/**
 * The page of a report: one HTML file that needs nothing else. The failure stands in it as text, so that it is read before
 * any script has run; the scripts are the simulator, which runs the world again, and what draws it.
 */
import type { Plan } from '../../sim/plan'
import type { Report } from '../format'
import { timeText } from '../text'

/** A world of which one thing was left out, and which passes. */
export interface Neighbour {
  plan: Plan
  decisions?: Record<string, number>
  /** `without g3: write …`. */
  difference: string
}

/** What the page's scripts find in it. */
export interface PageData {
  report: Report
  neighbour: Neighbour | null
  /** Of the page: `npm run replay -- FILE`. */
  command: string
}

export interface PageParts {
  data: PageData
  style: string
  /** In this order. */
  scripts: readonly string[]
}

/** What stands before the body of a page that loads nothing from anywhere. */
export function pageHead(title: string, style: string): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'">
<title>${escaped(title)} - mirrorsim</title>
<style>${style}</style>
</head>
`
}

export function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (letter) => `&#${letter.charCodeAt(0)};`)
}

/** A script may hold what ends its element. */
export function insideScript(text: string): string {
  return text.replace(/<\/(script)/gi, '<\\/$1').replace(/<!--/g, '<\\!--')
}

function facts({ report, command }: PageData): Array<readonly [name: string, value: string]> {
  const { failure, label, trace } = report
  const list: Array<readonly [string, string | undefined]> = [
    ['disk', failure.disk],
    ['offset', failure.offsetBytes?.toString()],
    ['bytes', failure.lengthBytes?.toString()],
    ['chunk', failure.chunkIndex?.toString()],
    ['operation', failure.operationId],
    ['expected', failure.expected],
    ['actual', failure.actual],
    ['when', `event ${failure.step} of ${trace.events}, ${timeText(failure.timeNs)}`],
    ['world', `seed ${label.seed}, profile ${label.profile}, revision ${label.revision}`],
    ['again', command],
  ]
  return list.flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const]))
}

/** The whole file. */
export function pageOf({ data, style, scripts }: PageParts): string {
  const { failure } = data.report
  const factList = facts(data)
    .map(([name, value]) => `<div><dt>${name}</dt><dd>${escaped(value)}</dd></div>`)
    .join('')
  const details = (failure.details ?? []).map((line) => `<li>${escaped(line)}</li>`).join('')
  const json = JSON.stringify(data).replace(/</g, '\\u003c')
  return `${pageHead(failure.key, style)}<body>
<header>
<h1><span class="class">${escaped(failure.class)}</span> ${escaped(failure.key)}</h1>
<p class="text">${escaped(failure.text)}</p>
<dl class="facts">${factList}</dl>
${details === '' ? '' : `<details class="more"><summary>More about it</summary><ul>${details}</ul></details>`}
</header>
<main id="app" aria-busy="true"><p>The world is run again …</p></main>
<noscript><p>The world is run again by a script; without it only what stands above can be shown.</p></noscript>
<script type="application/json" id="data">${json}</script>
${scripts.map((script) => `<script>${insideScript(script)}</script>`).join('\n')}
</body>
</html>
`
}

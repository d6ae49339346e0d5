/** Draws the plots of a campaign's page in the colours of the page, light or dark, and again when either or the width changes. */
import UPlot from 'uplot'
import type { DashboardSample } from '../../dashboard'

const HEIGHT_PIXELS = 190
const AXIS_PIXELS = 64
const X_AXIS_PIXELS = 32
/** A time and the room around it. */
const TICK_PIXELS = 90

interface Series {
  id: string
  color: string
  values: (number | null)[]
}

/** Sessions of which nothing was recorded between leave a gap. */
const GAP_SECONDS = 60

/** Times in seconds since 1970, and what to draw over them. */
function seriesOf(samples: readonly DashboardSample[]): { times: number[]; series: Series[] } {
  const times: number[] = []
  const [rates, failures, probes, faults]: [(number | null)[], (number | null)[], (number | null)[], (number | null)[]] = [
    [],
    [],
    [],
    [],
  ]
  let sum = 0
  for (const sample of samples) {
    if (sample.seconds <= 0) continue
    const end = sample.startMs / 1000 + sample.seconds
    const last = times.at(-1)
    if (last !== undefined && sample.startMs / 1000 - last > GAP_SECONDS) {
      times.push(last + 1)
      for (const values of [rates, failures, probes, faults]) values.push(null)
    }
    times.push(end)
    sum += sample.failures
    rates.push(sample.worlds / sample.seconds)
    failures.push(sum)
    probes.push(sample.probesMet)
    faults.push(sample.faults / sample.seconds)
  }
  const series = [
    { id: 'plot-rate', color: '--accent', values: rates },
    { id: 'plot-failures', color: '--bad', values: failures },
    { id: 'plot-probes', color: '--good', values: probes },
    { id: 'plot-faults', color: '--fault', values: faults },
  ]
  return { times, series }
}

const shortNumber = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 })

const DAY_SECONDS = 86_400

/** Of ticks on an axis: days where there are several, seconds where there are few minutes. */
function timesText(seconds: readonly number[]): string[] {
  const span = (seconds.at(-1) ?? 0) - (seconds[0] ?? 0)
  return seconds.map((one) => {
    const text = timeText(one)
    return span > DAY_SECONDS ? text.slice(5, 16) : span > 600 ? text.slice(11, 16) : text.slice(11)
  })
}

function timeText(seconds: number): string {
  return new Date(seconds * 1000).toISOString().slice(0, 19).replace('T', ' ')
}

function draw(times: number[], { id, color, values }: Series): UPlot {
  const home = document.getElementById(id)!
  home.replaceChildren()
  const style = getComputedStyle(document.documentElement)
  const [line, text, grid] = [color, '--dim', '--line'].map((name) => style.getPropertyValue(name).trim()) as [
    string,
    string,
    string,
  ]
  const axis = { stroke: text, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 } }
  const known = values.filter((value) => value !== null)
  home.setAttribute(
    'aria-label',
    `${home.getAttribute('aria-label')!.split(':')[0]}: last ${shortNumber.format(known.at(-1) ?? 0)}, at most ${shortNumber.format(Math.max(0, ...known))}`,
  )
  const options: UPlot.Options = {
    width: home.clientWidth,
    height: HEIGHT_PIXELS,
    cursor: { drag: { x: true, y: false } },
    scales: { y: { range: (_, __, max) => [0, Math.max(max * 1.1, 1)] } },
    tzDate: (seconds) => UPlot.tzDate(new Date(seconds * 1000), 'Etc/UTC'),
    axes: [
      { ...axis, size: X_AXIS_PIXELS, space: TICK_PIXELS, values: (_, ticks) => timesText(ticks) },
      { ...axis, size: AXIS_PIXELS, values: (_, ticks) => ticks.map((tick) => shortNumber.format(tick)) },
    ],
    series: [
      { label: 'at', value: (_, seconds) => (seconds === null ? '' : timeText(seconds)) },
      {
        label: 'value',
        value: (_, value) => (value === null ? '' : shortNumber.format(value)),
        stroke: line,
        width: 1.5,
        fill: `color-mix(in srgb, ${line} 12%, transparent)`,
        points: { show: times.length < 3 },
      },
    ],
  }
  return new UPlot(options, [times, values], home)
}

function main(): void {
  const samples = JSON.parse(document.getElementById('data')!.textContent!) as DashboardSample[]
  const { times, series } = seriesOf(samples)
  let plots: UPlot[] = []
  const redraw = (): void => {
    for (const plot of plots) plot.destroy()
    plots = series.map((one) => draw(times, one))
  }
  redraw()
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw)
  window.addEventListener('resize', redraw)
}

main()

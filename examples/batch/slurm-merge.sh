#!/usr/bin/env bash
# When the array of slurm.sh is over: joins what its tasks have found, and draws it.
#SBATCH --job-name=campaign-merge
#SBATCH --time=00:10:00
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"
: "${SEED:?give the root of the seeds: SEED=night sbatch $0}"
OUT=${OUT:-campaign-$SEED}
npm run campaign -- merge "$OUT"/shard-*.sqlite -o "$OUT/whole.sqlite"
npm run campaign -- dashboard "$OUT/whole.sqlite" -o "$OUT/campaign.html"

#!/usr/bin/env bash
# A campaign as an array of jobs, from a checkout on a disk that all nodes see:
#   SEED=night sbatch examples/batch/slurm.sh
#   SEED=night sbatch --dependency=afterany:JOB examples/batch/slurm-merge.sh
# A task that is sent again, by hand or by --requeue, goes on where its store stands.
#SBATCH --job-name=campaign
#SBATCH --array=1-16
#SBATCH --cpus-per-task=4
#SBATCH --mem=4G
#SBATCH --time=08:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"
: "${SEED:?give the root of the seeds: SEED=night sbatch $0}"
# As many as the array has tasks, also when only some of them are sent again.
SHARDS=${SHARDS:-16}
RUNS=${RUNS:-16000000}
OUT=${OUT:-campaign-$SEED}
mkdir -p "$OUT"
exec node -r ./scripts/tsreg.cjs commands/campaign.ts --store "$OUT/shard-$SLURM_ARRAY_TASK_ID.sqlite" \
  --workers "${SLURM_CPUS_PER_TASK:-1}" --seed "$SEED" --runs "$RUNS" --shard "$SLURM_ARRAY_TASK_ID/$SHARDS"

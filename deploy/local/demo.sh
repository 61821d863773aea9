# shellcheck shell=bash
# The demo: a base model is imported, a dataset uploaded, a job run, its results fetched and measured. Sourced by
# quickstart, which has the platform running and FINETUNED_URL and FINETUNED_API_KEY in the environment.

demo_repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
demo_program=$demo_repo/build/release/finetuned
demo_data=$demo_repo/deploy/demo
demo_out=$demo_repo/var/quickstart
demo_model=demo
demo_settings=(--epochs 6 --batch-size 8 --learning-rate 2e-3 --lora-rank 8 --lora-alpha 16 --seed 7)

demo_import() {
  "$demo_program" models import "$demo_data/model" --name "$demo_model" >&2
}

# Sets demo_job.
demo_train() {
  local training validation
  training=$("$demo_program" files upload "$demo_data/train.jsonl" --wait --quiet)
  validation=$("$demo_program" files upload "$demo_data/validation.jsonl" --wait --quiet)
  demo_job=$("$demo_program" jobs create --quiet --model "$demo_model" --training-file "$training" \
    --validation-file "$validation" --suffix quickstart "${demo_settings[@]}")
  "$demo_program" jobs watch "$demo_job"
}

demo_download() {
  rm -rf "$demo_out"
  "$demo_program" jobs download "$demo_job" --into "$demo_out"
}

# The held-out rows' right answers, and one of them in full, before and after.
demo_measure() {
  echo "Exact match on the held-out rows"
  echo "  base:  $("$demo_program" evaluate --base "$demo_data/model" --data "$demo_data/heldout.jsonl")"
  echo "  tuned: $("$demo_program" evaluate --base "$demo_data/model" --adapter "$demo_out" --data "$demo_data/heldout.jsonl")"
}

# shellcheck shell=bash
# The demo: a base model is imported, a dataset uploaded, a job run, its results fetched and measured. Sourced by
# quickstart, which has the platform running and FINETUNED_URL and FINETUNED_API_KEY in the environment.

demo_repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
demo_program=$demo_repo/build/release/finetuned
demo_data=$demo_repo/deploy/demo
demo_out=$demo_repo/var/quickstart
demo_model=demo
demo_settings=(--method "$demo_data/job.json" --seed 7)

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

# The held-out rows that base and tuned model answer word for word, and one answer of each in full.
demo_measure() {
  local heldout=$demo_data/heldout.jsonl
  echo "The base model, on rows that it was not trained on:"
  "$demo_program" evaluate --base "$demo_data/model" --data "$heldout" --show 1 | sed 's/^/  /'
  echo "The tuned model, on the same rows:"
  "$demo_program" evaluate --base "$demo_data/model" --adapter "$demo_out" --data "$heldout" --show 1 | sed 's/^/  /'
}

demo_bill() { "$demo_program" jobs bill "$demo_job"; }

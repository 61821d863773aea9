#include "services/gateway/openapi_schemas.h"

namespace finetuned::gateway {

namespace {

constexpr NamedType kTypes[] = {
    {"Error", "{error: {message: string; type: string; param: string | null; code: string | null}}"},
    {"List", "{object: 'list'; first_id: string | null; last_id: string | null; has_more: boolean}"},
    {"Deleted", "{id: string; object: string; deleted: boolean}"},

    {"Purpose", "'assistants' | 'batch' | 'fine-tune' | 'vision' | 'user_data' | 'evals'"},
    {"ExpiresAfter", "{anchor: 'created_at'; seconds: 3600..2592000}"},
    {"File",
     "{object: 'file'; id: string; purpose: Purpose | 'fine-tune-results'; filename: string; bytes: integer; "
     "created_at: time; expires_at?: time; status: 'uploaded' | 'processed' | 'error'; status_details?: string}"},
    {"FileList", "{...List; data: File[]}"},
    {"DatasetFault", "{line: integer; field: string; code: string; message: string}"},
    {"DatasetTokens",
     "{tokens: integer; supervised_tokens: integer; longest_row_tokens: integer; longest_row_line: integer}"},
    {"FileReport",
     "{object: 'file.report'; file_id: string; status: 'uploaded' | 'processed' | 'error'; ok: boolean | null; "
     "rows: integer | null; format: 'chat' | 'prompt_completion' | 'mixed' | null; fault_count: integer | null; "
     "faults: DatasetFault[]; tokens: {[model]: DatasetTokens | {error: DatasetFault}}}"},
    {"DownloadUrlRequest", "{expires_in?: 1..900}"},
    {"DownloadUrl", "{object: 'file.download_url'; file_id: string; url: string; expires_at: time}"},

    {"UploadRequest",
     "{filename: string; purpose: Purpose; bytes: 1..8589934592; mime_type: string; expires_after?: ExpiresAfter; "
     "[key]: never}"},
    {"UploadCompletion", "{part_ids: string[]; md5?: string; [key]: never}"},
    {"Upload",
     "{object: 'upload'; id: string; created_at: time; filename: string; bytes: integer; purpose: Purpose; "
     "status: 'pending' | 'completed' | 'cancelled' | 'expired'; expires_at: time; file: File | null}"},
    {"UploadPart", "{object: 'upload.part'; id: string; created_at: time; upload_id: string}"},

    {"Module", "'q_proj' | 'k_proj' | 'v_proj' | 'o_proj' | 'gate_proj' | 'up_proj' | 'down_proj'"},
    {"HyperparametersRequest",
     "{n_epochs?: 'auto' | 1..50; batch_size?: 'auto' | 1..256; learning_rate_multiplier?: 'auto' | number; "
     "learning_rate?: 'auto' | number; lora_rank?: 'auto' | 1..256; lora_alpha?: 'auto' | number; "
     "lora_dropout?: 'auto' | number; target_modules?: 'auto' | Module[]; use_rslora?: 'auto' | boolean; "
     "warmup_ratio?: 'auto' | number; lr_scheduler?: 'auto' | 'linear' | 'cosine' | 'constant'; weight_decay?: 'auto' "
     "| number; max_grad_norm?: 'auto' | number; max_seq_length?: 'auto' | 2..1048576; train_on_inputs?: 'auto' "
     "| boolean; early_stopping_patience?: 'auto' | 1..50; checkpoint_steps?: 'auto' | 1..1000000; [key]: never}"},
    {"Hyperparameters",
     "{n_epochs: integer; batch_size: integer; learning_rate_multiplier: number; learning_rate: number; "
     "lora_rank: integer; lora_alpha: number; lora_dropout: number; target_modules: Module[]; use_rslora: boolean; "
     "warmup_ratio: number; lr_scheduler: 'linear' | 'cosine' | 'constant'; weight_decay: number; "
     "max_grad_norm: number; max_seq_length: integer | null; train_on_inputs: boolean; "
     "early_stopping_patience: integer | null; checkpoint_steps: integer | null}"},
    {"Metadata", "{[key]: string}"},
    {"IntegrationRequest",
     "{type: 'wandb'; wandb: {project: string; name?: string | null; entity?: string | null; tags?: string[]; [key]: any}; [key]: any}"},
    {"Integration", "{type: 'wandb'; wandb: {project: string; name: string | null; entity: string | null; tags: string[]}}"},
    {"Payment", "'usd' | 'points' | 'points_then_usd'"},
    {"JobRequest",
     "{model: string; training_file: string; validation_file?: string; suffix?: string; seed?: 0..2147483647; "
     "metadata?: Metadata; integrations?: IntegrationRequest[]; hyperparameters?: HyperparametersRequest; priority?: integer; "
     "payment?: Payment; method?: {type: 'supervised'; supervised?: {hyperparameters?: HyperparametersRequest; [key]: never}; "
     "[key]: never}; [key]: never}"},
    {"Job",
     "{object: 'fine_tuning.job'; id: string; model: string; created_at: time; finished_at: time | null; "
     "fine_tuned_model: string | null; organization_id: string; result_files: string[]; status: 'validating_files' "
     "| 'queued' | 'running' | 'paused' | 'succeeded' | 'failed' | 'cancelled'; validation_file: string | null; "
     "training_file: string; hyperparameters: Hyperparameters; trained_tokens: integer | null; error: {code: string; "
     "message: string; param: string | null} | null; user_provided_suffix: string | null; seed: integer; "
     "estimated_finish: time | null; integrations: Integration[]; metadata: Metadata | null; "
     "method: {type: 'supervised'; supervised: {hyperparameters: Hyperparameters}}; payment: Payment; queue?: QueuePlace; pause?: StoragePause}"},
    {"StoragePause", "{reason: 'storage_unavailable'; message: string; since: time; retry_at: time}"},
    {"QueuePlace",
     "{position: integer | null; priority: integer; reason: 'files_not_checked' | 'no_worker_alive' | 'running_jobs_quota' "
     "| 'behind_own_jobs' | 'project_over_share' | 'waiting_for_worker'; message: string; estimated_start: time | null}"},
    {"JobList", "{...List; data: Job[]}"},
    {"JobQuote",
     "{object: 'fine_tuning.job.quote'; model: string; training_file: string; ready: boolean; allowed: boolean "
     "| null; rows: integer | null; tokens_per_epoch: integer | null; tokens: integer | null; price_nano_per_1k: nano "
     "| null; price_version: integer | null; amount: nano | null; payment: Payment; amount_in_dollars: nano | null; "
     "amount_in_points: nano | null; available: nano; available_points: nano; hyperparameters: Hyperparameters; queue_position: integer | null; expected_start: time | null; "
     "expected_finish: time | null}"},
    {"JobStatement",
     "{object: 'fine_tuning.job.statement'; fine_tuning_job_id: string; status: string; final: boolean; ledger: 'USD_NANO'; "
     "price_per_1k_tokens: nano; held: nano; trained_tokens: integer; amount: nano; returned: nano | null; given_back: nano; payment: Payment; held_dollars: nano; "
     "held_points: nano; charged_dollars: nano | null; charged_points: nano | null; waived: boolean; "
     "hold_id: string | null; transfer_id: string | null; data: JobStatementRow[]; has_more: boolean; last_step: integer | null}"},
    {"JobStatementRow",
     "{object: 'fine_tuning.job.statement.row'; first_step: integer; step: integer; tokens: integer; trained_tokens: integer; "
     "amount: nano; checkpoint_id: string | null; transfer_id: string | null}"},
    {"Losses",
     "{train_loss: number | null; train_mean_token_accuracy: number | null; valid_loss?: number | null; "
     "valid_mean_token_accuracy?: number | null; full_valid_loss?: number | null; "
     "full_valid_mean_token_accuracy?: number | null}"},
    {"StepMetrics",
     "{step: integer; total_steps: integer; epoch: number | null; ...Losses; learning_rate: number | null; "
     "grad_norm: number | null; tokens: integer; trained_tokens: integer; tokens_per_second: number | null; "
     "gemm_share?: number | null; memory_bytes: integer}"},
    {"JobEvent",
     "{object: 'fine_tuning.job.event'; id: string; created_at: time; level: 'info' | 'warn' | 'error'; "
     "message: string; type: 'message' | 'metrics'; data: StepMetrics | {}}"},
    {"JobEventList", "{...List; data: JobEvent[]}"},
    {"StreamError", "{code: string; message: string}"},
    {"JobCheckpoint",
     "{object: 'fine_tuning.job.checkpoint'; id: string; created_at: time; fine_tuned_model_checkpoint: string; "
     "fine_tuning_job_id: string; metrics: {step: integer; ...Losses}; step_number: integer}"},
    {"JobCheckpointList", "{...List; data: JobCheckpoint[]}"},

    {"Model", "{id: string; object: 'model'; created: time; owned_by: string; shutdown_date: time | null}"},
    {"ModelList", "{object: 'list'; data: Model[]}"},
    {"ExportRequest", "{format: 'peft' | 'merged'}"},
    {"ModelExport",
     "{id: string; object: 'model.export'; created_at: time; finished_at: time | null; model: string; format: 'peft' "
     "| 'merged'; status: 'queued' | 'running' | 'done' | 'failed'; file_id: string | null; error: {code: string; "
     "message: string} | null}"},
    {"ModelExportList", "{...List; data: ModelExport[]}"},

    {"StringCheckGrader",
     "{type: 'string_check'; name: string; input: string; reference: string; operation: 'eq' | 'ne' | 'like' "
     "| 'ilike'; [key]: never}"},
    {"TextSimilarityGrader",
     "{type: 'text_similarity'; name: string; input: string; reference: string; evaluation_metric: 'fuzzy_match' "
     "| 'bleu' | 'gleu' | 'meteor' | 'rouge_1' | 'rouge_2' | 'rouge_3' | 'rouge_4' | 'rouge_5' | 'rouge_l'; "
     "[key]: never}"},
    {"SingleGrader", "StringCheckGrader | TextSimilarityGrader"},
    {"MultiGrader",
     "{type: 'multi'; name: string; graders: SingleGrader | {[name]: SingleGrader}; calculate_output: string; "
     "[key]: never}"},
    {"Grader", "SingleGrader | MultiGrader"},
    {"GraderRunRequest", "{grader: Grader; item?: {[key]: any}; model_sample: string; [key]: never}"},
    {"GraderErrors",
     "{formula_parse_error: boolean; sample_parse_error: boolean; truncated_observation_error: boolean; "
     "unresponsive_reward_error: boolean; invalid_variable_error: boolean; other_error: boolean; "
     "python_grader_server_error: boolean; python_grader_server_error_type: null; "
     "python_grader_runtime_error: boolean; python_grader_runtime_error_details: null; "
     "model_grader_server_error: boolean; model_grader_refusal_error: boolean; model_grader_parse_error: boolean; "
     "model_grader_server_error_details: null; details: string | null}"},
    {"GraderRun",
     "{reward: number; sub_rewards: {[name]: number}; model_grader_token_usage_per_model: {}; "
     "metadata: {name: string; type: string; errors: GraderErrors; execution_time: number; scores: {[name]: number}; "
     "token_usage: null; sampled_model_name: null}}"},
    {"GraderValidation", "{grader: Grader; [key]: never}"},

    {"TextPart", "{type: 'text' | 'refusal'; text?: string; refusal?: string}"},
    {"ToolCall", "{id: string; type: 'function'; function: {name: string; arguments: string}}"},
    {"ChatMessage",
     "{role: 'system' | 'developer' | 'user' | 'assistant' | 'tool'; content?: string | TextPart[]; refusal?: string "
     "| null; name?: string; tool_calls?: ToolCall[]; tool_call_id?: string}"},
    {"Sampling",
     "{model: string; n?: 1..8; temperature?: number; top_p?: number; seed?: integer; stop?: string | string[]; "
     "stream?: boolean; stream_options?: {include_usage?: boolean; [key]: any}}"},
    {"ChatRequest",
     "{...Sampling; messages: ChatMessage[]; max_completion_tokens?: 1..1048576; max_tokens?: 1..1048576; "
     "logprobs?: boolean; top_logprobs?: 0..20; response_format?: {type: 'text'}; [key]: any}"},
    {"CompletionRequest",
     "{...Sampling; prompt: string | string[] | integer[] | integer[][]; max_tokens?: 0..1048576; logprobs?: 0..5; "
     "echo?: boolean; [key]: any}"},
    {"Usage",
     "{prompt_tokens: integer; completion_tokens: integer; total_tokens: integer; "
     "prompt_tokens_details: {cached_tokens: integer; audio_tokens: integer}; "
     "completion_tokens_details: {reasoning_tokens: integer; audio_tokens: integer; "
     "accepted_prediction_tokens: integer; rejected_prediction_tokens: integer}}"},
    {"TokenProbability", "{token: string; logprob: number; bytes: integer[]}"},
    {"ChatLogprobs", "{content: {...TokenProbability; top_logprobs: TokenProbability[]}[]; refusal: null}"},
    {"TextLogprobs",
     "{tokens: string[]; token_logprobs: number[]; top_logprobs: {[token]: number}[]; text_offset: integer[]}"},
    {"ChatCompletion",
     "{id: string; object: 'chat.completion'; created: time; model: string; choices: {index: integer; "
     "message: {role: 'assistant'; content: string; refusal: null; annotations: any[]; audio: null}; "
     "logprobs: ChatLogprobs | null; finish_reason: 'stop' | 'length'}[]; usage: Usage; system_fingerprint: string; "
     "service_tier: 'default'; metadata: null; moderation: null}"},
    {"ChatCompletionChunk",
     "{id: string; object: 'chat.completion.chunk'; created: time; model: string; service_tier: 'default'; "
     "system_fingerprint?: string; choices: {index: integer; delta: {role?: 'assistant'; content?: string; "
     "refusal?: null}; logprobs: ChatLogprobs | null; finish_reason: 'stop' | 'length' | null}[]; usage?: Usage "
     "| null}"},
    {"Completion",
     "{id: string; object: 'text_completion'; created: time; model: string; choices: {index: integer; text: string; "
     "logprobs: TextLogprobs | null; finish_reason: 'stop' | 'length'}[]; usage: Usage; system_fingerprint: string}"},
    {"CompletionChunk",
     "{id: string; object: 'text_completion'; created: time; model: string; system_fingerprint?: string; "
     "choices: {index: integer; text: string; logprobs: TextLogprobs | null; finish_reason: 'stop' | 'length' "
     "| null}[]; usage?: Usage | null}"},

    {"WebhookEvent", "'billing.spend_alert.reached' | 'fine_tuning.job.succeeded' | 'fine_tuning.job.failed' | 'fine_tuning.job.cancelled'"},
    {"WebhookEndpointRequest", "{url: string; events?: WebhookEvent[]; description?: string | null; [key]: never}"},
    {"WebhookEndpointChange",
     "{url?: string; events?: WebhookEvent[]; description?: string | null; enabled?: boolean; [key]: never}"},
    {"WebhookEndpoint",
     "{object: 'webhook_endpoint'; id: string; created_at: time; url: string; events: WebhookEvent[]; "
     "description: string | null; enabled: boolean; disabled_reason: string | null}"},
    {"WebhookEndpointWithSecret", "{...WebhookEndpoint; secret: string}"},
    {"WebhookEndpointList", "{...List; data: WebhookEndpoint[]}"},
    {"WebhookDelivery",
     "{object: 'webhook_endpoint.delivery'; id: string; event_id: string; type: WebhookEvent "
     "| 'webhook_endpoint.test'; status: 'pending' | 'delivered' | 'given_up'; attempts: integer; "
     "last_status: integer | null; last_error: string | null; last_answer: string | null; next_attempt_at: time "
     "| null; created_at: time; delivered_at: time | null}"},
    {"WebhookDeliveryList", "{...List; data: WebhookDelivery[]}"},

    {"Metric", "'valid_loss' | 'valid_mean_token_accuracy'"},
    {"Challenge",
     "{object: 'challenge' | 'organization.challenge'; id: string; name: string; description: string | null; status: 'open' | 'closed'; "
     "model: string; metric: Metric; token_budget: integer; seeds: integer[]; reward: micro; reward_left: micro; target: number; margin: number; "
     "incumbent: {recipe: Hyperparameters; contribution_id: string | null}; created_at: time; closed_at: time | null}"},
    {"ChallengeList", "{...List; data: Challenge[]}"},
    {"ContributionRequest", "{recipe: HyperparametersRequest; note?: string}"},
    {"Contribution",
     "{object: 'challenge.contribution' | 'challenge.leaderboard.entry'; id: string; challenge_id: string; status: 'queued' "
     "| 'running' | 'won' | 'confirming' | 'lost' | 'rejected' | 'failed'; reason: string | null; note: string | null; "
     "recipe: Hyperparameters; against: {recipe: Hyperparameters; contribution_id: string | null} | null; "
     "incumbent_mean: number | null; contribution_mean: number | null; p_value: number | null; award: micro; vested: micro; "
     "pending: micro; forfeited: micro; vests_at: time | null; created_at: time; decided_at: time | null}"},
    {"ContributionList", "{...List; data: Contribution[]}"},
    {"VerificationRun",
     "{side: 'incumbent' | 'contribution'; round: 1..2; seed: integer; value: number | null; problem: string | null; "
     "curve: {step: integer; train_loss?: number; valid_loss?: number; valid_mean_token_accuracy?: number}[]}"},
    {"LeaderboardEntry", "{...Contribution; mine: boolean; runs: VerificationRun[]}"},
    {"Leaderboard", "{object: 'challenge.leaderboard'; challenge: Challenge; data: LeaderboardEntry[]}"},

    {"Ledger", "'USD_NANO' | 'POINTS_MICRO'"},
    {"Account", "'prepaid' | 'revenue' | 'funding' | 'liquidity' | 'escrow'"},
    {"Balance",
     "{object: 'billing.balance'; ledger: Ledger; available: nano; held: nano; spent: nano; credited: nano; credit_limit?: nano; "
     "pending?: nano}"},
    {"BalanceList", "{object: 'list'; data: Balance[]}"},
    {"Transfer",
     "{object: 'billing.transfer'; id: string; ledger: Ledger; kind: 'single' | 'pending' | 'post' | 'void' "
     "| 'expire' | 'correction'; debit_account: Account; credit_account: Account; "
     "amount: nano; pending_id: string | null; corrects_id: string | null; job_id: string | null; "
     "price_version: integer | null; reason: string; created_at: time}"},
    {"TransferList", "{...List; data: Transfer[]}"},
    {"MonthlyStatement",
     "{object: 'billing.statement'; ledger: Ledger; month: string; opening: nano; closing: nano; held: nano; data: "
     "StatementLine[]}"},
    {"StatementLine",
     "{object: 'billing.statement.line'; created_at: time; kind: 'single' | 'post' | 'correction'; transfer_id: string | null; "
     "corrects_id: string | null; job_id: string | null; model: string | null; tokens: integer | null; amount: nano; reason: "
     "string}"},

    {"Health", "{status: 'ok'}"},
    {"Readiness",
     "{status: 'ready' | 'not_ready'; checks: {postgresql: 'ok' | 'unavailable'; redis: 'ok' | 'unavailable'; "
     "storage: 'ok' | 'unavailable'}}"},
    {"Document", "{openapi: string; [key]: any}"},
};

}  // namespace

std::span<const NamedType> project_types() { return kTypes; }

}  // namespace finetuned::gateway

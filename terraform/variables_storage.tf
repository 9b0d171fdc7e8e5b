variable "telemetry_prefix" {
  description = "Prefix in the telemetry bucket that is read and told of; empty for the whole bucket."
  type        = string
  default     = "telemetry/"

  validation {
    condition     = var.telemetry_prefix == "" || can(regex("^[^/*?$].*/$", var.telemetry_prefix)) && !can(regex("[*?$]", var.telemetry_prefix))
    error_message = "telemetry_prefix: ${var.telemetry_prefix} must end with a slash, not begin with one, and hold none of * ? $, which mean something in policies."
  }
}

variable "telemetry_retention_days" {
  description = "Days after which telemetry is deleted; null keeps it. A job that re-reads it cannot go back further."
  type        = number
  default     = null

  validation {
    condition     = var.telemetry_retention_days == null || try(var.telemetry_retention_days >= 1 && floor(var.telemetry_retention_days) == var.telemetry_retention_days, false)
    error_message = "telemetry_retention_days: must be a whole number of days from 1, or null."
  }
}

variable "noncurrent_days" {
  description = "Days that deleted and overwritten versions can be brought back, and are paid for."
  type        = number
  default     = 7

  validation {
    condition     = var.noncurrent_days >= 1 && floor(var.noncurrent_days) == var.noncurrent_days
    error_message = "noncurrent_days: ${var.noncurrent_days} must be a whole number of days from 1."
  }
}

variable "kms_key_arn" {
  description = "Key for the buckets (SSE-KMS), which whoever writes telemetry needs, too; null leaves it to S3 (AES256)."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:aws[a-z-]*:kms:[^:]+:[0-9]{12}:key/.+$", var.kms_key_arn))
    error_message = "kms_key_arn: write the ARN of a key, arn:aws:kms:<region>:<account>:key/<id>; an alias does not do in a policy."
  }
}

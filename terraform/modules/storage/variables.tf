variable "buckets" {
  description = "Buckets by purpose; retention_days deletes current objects of that age (null: never)."
  type = map(object({
    name           = string
    retention_days = optional(number)
  }))
}

variable "kms_key_arn" {
  description = "Key for SSE-KMS; null encrypts with keys that S3 keeps (AES256)."
  type        = string
  default     = null
}

variable "noncurrent_days" {
  description = "Days after which a deleted or overwritten version is removed for good."
  type        = number
}

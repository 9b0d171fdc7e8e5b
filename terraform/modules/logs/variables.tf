variable "name" {
  description = "First part of the groups' names."
  type        = string
}

variable "retention_days" {
  description = "Days that logs are kept."
  type        = number
}

variable "kms_key_arn" {
  description = "Key for the logs, whose policy must let CloudWatch Logs use it; null: AWS's own."
  type        = string
  default     = null
}

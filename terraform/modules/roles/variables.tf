variable "name" {
  description = "Prefix of the roles' names."
  type        = string
}

variable "partition" {
  description = "AWS partition, as in ARNs."
  type        = string
}

variable "region" {
  description = "Region of the tasks."
  type        = string
}

variable "account_id" {
  description = "Account of the tasks."
  type        = string
}

variable "image" {
  description = "Image that the tasks run, in ECR."
  type        = string
}

variable "secret_arns" {
  description = "Secrets that are handed to the containers."
  type        = list(string)
}

variable "secrets_kms_key_arn" {
  description = "Key of those secrets, where it is not AWS's own."
  type        = string
  default     = null
}

variable "log_group_arns" {
  description = "Log groups of the containers."
  type        = list(string)
}

variable "buckets" {
  description = "Buckets, and the prefix in each that the tasks work below."
  type = object({
    telemetry = object({ arn = string, prefix = string })
    state     = object({ arn = string, prefix = string })
    results   = object({ arn = string, prefix = string })
  })
}

variable "kms_key_arn" {
  description = "Key of the buckets; null where S3 keeps it."
  type        = string
  default     = null
}

variable "queue_arn" {
  description = "Queue of new files."
  type        = string
}

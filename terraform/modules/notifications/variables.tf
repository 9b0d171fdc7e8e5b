variable "name" {
  description = "Prefix of the queues' names."
  type        = string
}

variable "account_id" {
  description = "Account that owns the bucket."
  type        = string
}

variable "bucket_name" {
  description = "Bucket whose new objects are told."
  type        = string
}

variable "bucket_arn" {
  description = "ARN of that bucket."
  type        = string
}

variable "prefix" {
  description = "Only objects below this prefix are told."
  type        = string
}

variable "visibility_timeout_seconds" {
  description = "How long a message that was received is hidden from other readers."
  type        = number
  default     = 900
}

variable "receives_max" {
  description = "Receives of a message before it goes to the dead-letter queue."
  type        = number
  default     = 5
}

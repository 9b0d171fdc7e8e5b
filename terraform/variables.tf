# What must be said: an image and its secrets. Everything else has a default.
# Buckets and telemetry are in variables_storage.tf, sizes in variables_compute.tf.

variable "image" {
  description = "Image in ECR, with a tag or a digest: the network has no way to another registry."
  type        = string

  validation {
    condition = can(regex(
      "^[0-9]{12}\\.dkr\\.ecr\\.[a-z0-9-]+\\.amazonaws\\.com(\\.cn)?/[a-z0-9._/-]+(:[A-Za-z0-9._-]+|@sha256:[0-9a-f]{64})$",
      var.image,
    ))
    error_message = "image: ${var.image} is not in ECR, or has no tag; write <account>.dkr.ecr.<region>.amazonaws.com/tidegauge:<tag>."
  }

  validation {
    condition     = !endswith(var.image, ":latest")
    error_message = "image: latest says not what runs, and going back to it is not possible; write the tag of a version."
  }
}

variable "secrets" {
  description = <<-EOT
    ARNs of secrets in Secrets Manager, each a plain text:
    service_tokens: token file of the service's doors, lines `name sha256:<hex> role:<role>`;
    worker_tokens: token file of the workers;
    worker_token: the token, in clear, that the service shows to the workers.
  EOT
  type = object({
    service_tokens = string
    worker_tokens  = string
    worker_token   = string
  })

  validation {
    condition = alltrue([for arn in values(var.secrets) : arn == null ? true : can(regex(
      "^arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[^:]+$", arn,
    ))])
    error_message = "secrets: each is the whole ARN of a secret, arn:aws:secretsmanager:<region>:<account>:secret:<name>, without a JSON key."
  }
}

variable "secrets_kms_key_arn" {
  description = "Key that encrypts the secrets, where it is not AWS's own."
  type        = string
  default     = null

  validation {
    condition     = var.secrets_kms_key_arn == null || can(regex("^arn:aws[a-z-]*:kms:[^:]+:[0-9]{12}:key/.+$", var.secrets_kms_key_arn))
    error_message = "secrets_kms_key_arn: write the ARN of a key, arn:aws:kms:<region>:<account>:key/<id>; an alias does not do in a policy."
  }
}

variable "name" {
  description = "Prefix of all names."
  type        = string
  default     = "tidegauge"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name: ${var.name} must be 3 to 20 lower-case letters, digits and hyphens, and begin with a letter: bucket names are made of it."
  }
}

variable "vpc_cidr" {
  description = "Addresses of the network that is made; choose what your own networks leave free."
  type        = string
  default     = "10.64.0.0/20"

  validation {
    condition     = can(cidrnetmask(var.vpc_cidr)) && try(tonumber(split("/", var.vpc_cidr)[1]) >= 16 && tonumber(split("/", var.vpc_cidr)[1]) <= 24, false)
    error_message = "vpc_cidr: ${var.vpc_cidr} must be an IPv4 network from /16 to /24, as 10.64.0.0/20."
  }
}

variable "zone_count" {
  description = "Availability zones with a subnet. Each adds the price of five interface endpoints."
  type        = number
  default     = 2

  validation {
    condition     = contains([1, 2, 3, 4], var.zone_count)
    error_message = "zone_count: ${var.zone_count} must be 1, 2, 3 or 4."
  }
}

variable "client_cidrs" {
  description = "Networks whose clients may reach Flight SQL and HTTP; none by default."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.client_cidrs : can(cidrnetmask(cidr))])
    error_message = "client_cidrs: each must be an IPv4 network, as 10.0.0.0/16."
  }

  validation {
    condition     = alltrue([for cidr in var.client_cidrs : try(tonumber(split("/", cidr)[1]) >= 8, false)])
    error_message = "client_cidrs: a network wider than /8 is the internet; list your own."
  }
}

variable "namespace" {
  description = "Private DNS domain of the tasks: service.<namespace>, workers.<namespace>."
  type        = string
  default     = "tidegauge.internal"

  validation {
    condition     = can(regex("^([a-z0-9]([a-z0-9-]*[a-z0-9])?\\.)+[a-z]{2,}$", var.namespace))
    error_message = "namespace: ${var.namespace} is not a domain; write one as tidegauge.internal."
  }
}

variable "log_retention_days" {
  description = "Days that logs are kept."
  type        = number
  default     = 30

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days: CloudWatch Logs has no ${var.log_retention_days}; it has 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365 and some above."
  }
}

variable "log_kms_key_arn" {
  description = "Key for the logs, whose policy must let CloudWatch Logs use it; null: AWS's own."
  type        = string
  default     = null
}

variable "log_level" {
  description = "RUST_LOG of the tasks."
  type        = string
  default     = "info"
}

variable "otlp" {
  description = "OTLP collector (gRPC) that the tasks can reach: its address, port and networks."
  type = object({
    endpoint    = string
    port        = optional(number, 4317)
    cidr_blocks = list(string)
  })
  default = null

  validation {
    condition     = var.otlp == null || can(regex("^https?://[^/]+", var.otlp.endpoint))
    error_message = "otlp.endpoint: write an address as http://collector.example.internal:4317."
  }

  validation {
    condition     = var.otlp == null || try(alltrue([for cidr in var.otlp.cidr_blocks : can(cidrnetmask(cidr))]) && length(var.otlp.cidr_blocks) > 0, false)
    error_message = "otlp.cidr_blocks: list the IPv4 networks of the collector, as 10.0.0.0/16; nothing else can be reached."
  }
}

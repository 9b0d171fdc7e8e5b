# A whole installation: registry, secrets, a key of one's own, two to six workers, clients from the
# company's network. Run it in two steps, as docs/deploying-on-aws.md says: the registry and the
# secrets first, then the image and the tokens, then the rest.

terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.90"
    }
  }
}

provider "aws" {
  region = var.region
}

variable "region" {
  description = "Where to install."
  type        = string
  default     = "eu-central-1"
}

variable "image_tag" {
  description = "Version of the image to run."
  type        = string
}

variable "client_cidrs" {
  description = "Networks of those who query and submit."
  type        = list(string)
  default     = ["10.0.0.0/16"]
}

resource "aws_ecr_repository" "tidegauge" {
  name                 = "tidegauge"
  image_tag_mutability = "IMMUTABLE"

  image_scanning_configuration {
    scan_on_push = true
  }
}

# Containers only: the values are put in by hand, so that no state file holds them.
resource "aws_secretsmanager_secret" "tokens" {
  for_each = toset(["service_tokens", "worker_tokens", "worker_token"])

  name = "tidegauge/${each.key}"
}

resource "aws_kms_key" "buckets" {
  description             = "Tidegauge's buckets"
  enable_key_rotation     = true
  deletion_window_in_days = 30
}

module "tidegauge" {
  source = "../.."

  image        = "${aws_ecr_repository.tidegauge.repository_url}:${var.image_tag}"
  secrets      = { for use, secret in aws_secretsmanager_secret.tokens : use => secret.arn }
  kms_key_arn  = aws_kms_key.buckets.arn
  client_cidrs = var.client_cidrs

  telemetry_retention_days = 90
  worker_count             = 2
  worker_count_max         = 6
  workers_on_spot          = true
}

output "repository_url" {
  description = "Where to push the image."
  value       = aws_ecr_repository.tidegauge.repository_url
}

output "secret_arns" {
  description = "Where to put the tokens."
  value       = { for use, secret in aws_secretsmanager_secret.tokens : use => secret.arn }
}

output "tidegauge" {
  description = "Everything that the module says of itself."
  value       = module.tidegauge
}

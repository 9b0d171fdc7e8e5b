# Tidegauge on AWS: buckets, a network without a way out, and one service with its workers on
# Fargate. Each module is one concern; this file says what they know of each other.
#
#   telemetry bucket --> (queue) --> service <--> state bucket
#                                      |  \
#                                   workers --> results bucket

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  region     = data.aws_region.current.id

  # Bucket names are the world's: account and region keep them apart.
  buckets = { for purpose in ["telemetry", "state", "results"] : purpose => {
    name           = "${var.name}-${purpose}-${local.account_id}-${local.region}"
    retention_days = purpose == "telemetry" ? var.telemetry_retention_days : null
  } }

  prefixes = {
    telemetry = var.telemetry_prefix
    state     = "state/"
    results   = "results/"
  }

  locations = { for purpose, prefix in local.prefixes :
    purpose => "s3://${module.storage.names[purpose]}/${prefix}"
  }
}

module "storage" {
  source = "./modules/storage"

  buckets         = local.buckets
  kms_key_arn     = var.kms_key_arn
  noncurrent_days = var.noncurrent_days
}

module "notifications" {
  source = "./modules/notifications"

  name        = var.name
  account_id  = local.account_id
  bucket_name = module.storage.names["telemetry"]
  bucket_arn  = module.storage.arns["telemetry"]
  prefix      = local.prefixes.telemetry
}

module "network" {
  source = "./modules/network"

  name        = var.name
  partition   = local.partition
  cidr        = var.vpc_cidr
  zone_count  = var.zone_count
  bucket_arns = values(module.storage.arns)
}

module "logs" {
  source = "./modules/logs"

  name           = var.name
  retention_days = var.log_retention_days
  kms_key_arn    = var.log_kms_key_arn
}

module "roles" {
  source = "./modules/roles"

  name                = var.name
  partition           = local.partition
  region              = local.region
  account_id          = local.account_id
  image               = var.image
  secret_arns         = [for arn in values(var.secrets) : arn if arn != null]
  secrets_kms_key_arn = var.secrets_kms_key_arn
  log_group_arns      = values(module.logs.arns)
  kms_key_arn         = var.kms_key_arn
  queue_arn           = module.notifications.queue_arn

  buckets = { for purpose, prefix in local.prefixes : purpose => {
    arn    = module.storage.arns[purpose]
    prefix = prefix
  } }
}

module "compute" {
  source = "./modules/compute"

  name               = var.name
  region             = local.region
  image              = var.image
  cpu_architecture   = var.cpu_architecture
  container_insights = var.container_insights
  role_arns          = module.roles.arns
  log_groups         = module.logs.names
  log_level          = var.log_level
  secrets            = var.secrets

  vpc_id                      = module.network.vpc_id
  subnet_ids                  = module.network.subnet_ids
  endpoints_security_group_id = module.network.endpoints_security_group_id
  s3_prefix_list_id           = module.network.s3_prefix_list_id
  client_cidrs                = var.client_cidrs
  namespace                   = var.namespace
  otlp                        = var.otlp

  state_location   = local.locations.state
  results_location = local.locations.results
  job_files        = var.job_files
  environment      = merge({ TELEMETRY = local.locations.telemetry }, var.environment)

  service_size              = var.service_size
  worker_size               = var.worker_size
  ephemeral_storage_gib     = var.ephemeral_storage_gib
  worker_count              = var.worker_count
  worker_count_max          = coalesce(var.worker_count_max, var.worker_count)
  worker_cpu_percent_target = var.worker_cpu_percent_target
  workers_on_spot           = var.workers_on_spot
}

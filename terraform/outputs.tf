output "locations" {
  description = "s3:// locations for job files: telemetry, state, results."
  value       = local.locations
}

output "bucket_names" {
  description = "Buckets by purpose: telemetry, state, results."
  value       = module.storage.names
}

output "flight_address" {
  description = "Flight SQL: tidegauge query --to, where the network's names resolve."
  value       = module.compute.flight_address
}

output "http_address" {
  description = "HTTP: tidegauge submit, list, status and stop --to, likewise."
  value       = module.compute.http_address
}

output "queue_url" {
  description = "Queue of new telemetry files."
  value       = module.notifications.queue_url
}

output "dead_letter_queue_url" {
  description = "Queue of notifications that nobody could handle."
  value       = module.notifications.dead_letter_queue_url
}

output "vpc_id" {
  description = "The network, to peer with or attach to a transit gateway."
  value       = module.network.vpc_id
}

output "route_table_id" {
  description = "Its route table, for the way back to your clients."
  value       = module.network.route_table_id
}

output "subnet_ids" {
  description = "Its private subnets."
  value       = module.network.subnet_ids
}

output "cluster_name" {
  description = "The ECS cluster."
  value       = module.compute.cluster_name
}

output "log_groups" {
  description = "Log groups by role: service, worker."
  value       = module.logs.names
}

output "role_arns" {
  description = "Roles by use (execution, service, worker), for policies of keys and buckets elsewhere."
  value       = module.roles.arns
}

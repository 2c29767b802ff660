export { Histogram } from "./Histogram.ts"
export { logAnnotation } from "./logAnnotation.ts"
export { type Labels, type Metric, type MetricReader, MetricRegistry, type Reading } from "./MetricRegistry.ts"
export { metric } from "./metric.ts"

package com.instantaudience.client;

import com.instantaudience.v1.ApplySegmentsResult;

/**
 * The result for the users that were sent in one request, in the order in which they were given.
 *
 * @param firstUser the index of the first of these users among those given.
 * @param users the number of users; blocks of the last one may continue in the next result.
 * @param result counts and warnings; null if the request failed. Paths count the users given, from 0.
 * @param error why the request failed, in a way that sending it again would not help; null if it did not fail.
 */
public record StreamResult(int firstUser, int users, ApplySegmentsResult result, AudienceException error) {}
